"""Files that go out, from an answer that links to them to each channel, through its library and the gateway."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from tests.real import slack_scene, test_discord, test_email, test_imessage, test_telegram, test_whatsapp
from tests.real.channel_scene import PUBLIC_URL, Answer, Scene, channel_scene, said

from subclaw.channels.discord.channel import FILE_LIMIT_BYTES as DISCORD_LIMIT_BYTES
from subclaw.channels.discord.channel import FORM_LIMIT_BYTES
from subclaw.channels.email.channel import FILE_LIMIT_BYTES as EMAIL_LIMIT_BYTES
from subclaw.channels.slack.client import NotSent, slack_client
from subclaw.channels.sms.paths import WEBHOOK_PATH
from subclaw.core.channel import (
    Address,
    Delivery,
    NotSeen,
    OutboundFile,
    OutboundMessage,
    Reconciles,
    Seen,
    SendsFiles,
    Trouble,
)
from subclaw.core.model import ModelReply, Prompt
from subclaw.core.tenant import TenantId
from subclaw.store.database import DatabaseAddress
from subclaw.testing.channels import bluebubbles, discord, slack, smtp, telegram, twilio, whatsapp
from subclaw.testing.channels.twilio import FakeTwilio, deliver, fake_twilio, inbound_mms, inbound_sms, send_receipt
from subclaw.testing.egress import run
from subclaw.testing.models import words
from subclaw.turns.outbox import utc_now

ACCOUNT, TOKEN = "AC" + "0" * 32, "a canary token"
NUMBER, PERSON, ABROAD = "+15550100002", "+15550100001", "+491701234567"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 2_000_000
PDF = b"%PDF-1.7\n" + b"x" * 50_000
FILES = {"/home/agent/chart.png": PNG, "/home/agent/out/report.pdf": PDF, "/home/agent/page.html": b"<!doctype html>hi"}
BOTH = "Here they are.\n\n![the chart](chart.png)\n\n[the report](~/out/report.pdf)"


def saying(text: str) -> Answer:
    """Return a model that says so, and what it was told of last when an answer was sent back."""

    def answer(prompt: Prompt) -> ModelReply:
        told = said(prompt)[-1]
        return words(f"Told: {told}" if "Your last answer was not shown" in told else text)

    return answer


def test_telegram_shows_pictures_and_sends_files(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with test_telegram.telegram(address, tmp_path, saying(BOTH)) as (scene, fake):
            scene.files.home |= FILES
            await telegram.say(fake, telegram.written(fake, "the figures, please"))
            assert await telegram.until(fake, 3) == ["Here they are.", "the chart", "the report"]
            _, chart, report = fake.messages
            assert (chart.as_picture, chart.file_name, chart.content) == (True, "chart.png", PNG)
            assert (report.as_picture, report.file_name, report.content) == (False, "report.pdf", PDF)
            await scene.until("SELECT 1 FROM outbox WHERE state = 'sent'")
            assert scene.rows("SELECT part, file_id IS NULL, state FROM outbox_part ORDER BY part") == [
                (0, True, "sent"),
                (1, False, "sent"),
                (2, False, "sent"),
            ]

    run(scenario)


def test_what_telegram_does_not_show_as_a_picture_it_sends_as_a_file(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with test_telegram.telegram(address, tmp_path) as (scene, fake):
            broken = OutboundFile(name="a.png", media_type="image/png", size_bytes=3, content=b"abc")
            channel = scene.channels["telegram"]
            assert isinstance(channel, SendsFiles)
            message = test_telegram.to_person("a picture")
            assert (await channel.send_file(message, broken)).delivery is Delivery.SENT
            assert [one.as_picture for one in fake.messages] == [False]
            for behaviour, delivery in (
                (telegram.Behaviour.BLOCKED, Delivery.FAILED),
                (telegram.Behaviour.FAIL, Delivery.UNKNOWN),
                (telegram.Behaviour.DROP, Delivery.UNKNOWN),
            ):
                fake.behaviours.append(behaviour)
                assert (await channel.send_file(message, broken)).delivery is delivery
            fake.behaviours.append(telegram.Behaviour.MIGRATED)
            assert (await channel.send_file(message, broken)).delivery is Delivery.SENT
            assert fake.messages[-1].chat_id == 1001 - 1_000_000

    run(scenario)


def test_whatsapp_sends_what_it_takes_and_links_to_the_rest(address: DatabaseAddress, tmp_path: Path) -> None:
    answer = saying(f"{BOTH} [the page](page.html)")

    async def scenario() -> None:
        async with test_whatsapp.whatsapp(address, tmp_path, answer) as (scene, fake):
            scene.files.home |= FILES
            await whatsapp.say(fake, whatsapp.written(fake, "hello", person=test_whatsapp.PERSON))
            texts = await whatsapp.until(fake, 3)
            assert re.fullmatch(rf"Here they are.*\n\nthe page: {PUBLIC_URL}/files/\S+/page.html", texts[0], re.DOTALL)
            assert texts[1:] == ["the chart", "the report"]
            _, chart, report = fake.messages
            assert (chart.kind, chart.file) == ("image", ("image/png", PNG))
            assert (report.kind, report.file, report.file_name) == (
                "document",
                ("application/pdf", PDF),
                "report.pdf",
            )
            await scene.until("SELECT 1 FROM outbox WHERE state = 'sent'")
            await whatsapp.tell(fake, *(whatsapp.receipt(one, "delivered") for one in fake.messages))
            assert scene.rows("SELECT name FROM outgoing_file") == [("page.html",)], "the others have arrived"

    run(scenario)


def test_where_whatsapp_takes_no_file_a_link_goes(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario() -> None:
        more = {"WHATSAPP_TEMPLATE": "news:en_US"}
        async with test_whatsapp.whatsapp(address, tmp_path, saying("![chart](chart.png)"), **more) as (scene, fake):
            scene.files.home |= FILES
            fake.templates.add(("news", "en_US"))
            fake.behaviours.append(whatsapp.Behaviour.NO_FILE)
            await whatsapp.say(fake, whatsapp.written(fake, "hello", person=test_whatsapp.PERSON))
            (text,) = await whatsapp.until(fake, 1)
            assert text.startswith(f"chart: {PUBLIC_URL}/files/")
            day_s = 90_000
            await whatsapp.say(fake, whatsapp.written(fake, "again", person="16505550000", ago_s=day_s))
            assert (await whatsapp.until(fake, 2))[1].startswith(f"chart: {PUBLIC_URL}/files/")
            assert fake.messages[1].template == "news"
            await scene.until("SELECT 1 FROM outbox GROUP BY state HAVING state = 'sent' AND count(*) = 2")
            assert scene.rows("SELECT DISTINCT file_id FROM outbox_part") == [(None,)]

    run(scenario)


def test_imessage_sends_files_and_finds_them_again(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with test_imessage.imessage(address, tmp_path, saying(BOTH)) as (scene, fake):
            scene.files.home |= FILES
            fake.behaviours += [bluebubbles.Behaviour.ACCEPT, bluebubbles.Behaviour.DROP]
            await bluebubbles.say(fake, "hello", person=test_imessage.PERSON)
            await bluebubbles.until(fake, 3)
            await scene.until("SELECT 1 FROM outbox WHERE state = 'sent'")
            sent = [[file["transferName"] for file in one["attachments"]] for one in fake.sent]
            assert sent == [[], ["chart.png"], ["report.pdf"]], "the one whose answer was lost is not sent again"
            assert [fake.files[file["guid"]] for one in fake.sent for file in one["attachments"]] == [PNG, PDF]

    run(scenario)


def test_slack_shows_files_where_it_was_asked_and_finds_them_again(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: slack_scene.SlackScene) -> None:
        fake, thread = scene.fake, "1789999999.000100"
        scene.files.home |= FILES
        slack.behave(fake, slack.Behaviour.DROP, method="files.completeUploadExternal")
        await slack.say(fake, slack.written(fake, f"<@{slack.BOT}> the figures?", place="C0ROOM", thread_ts=thread))
        await scene.until("SELECT 1 FROM outbox WHERE state = 'sent'")
        chart, report = [one.file for one in fake.messages if one.file]
        assert (chart.name, chart.title, chart.content) == ("chart.png", "the chart", PNG)
        assert (report.name, report.title, report.content) == ("report.pdf", "the report", PDF)
        assert [(one.place, one.thread) for one in fake.messages] == [("C0ROOM", thread)] * 3
        assert scene.rows("SELECT provider_id FROM outbox_part WHERE part > 0 ORDER BY part") == [
            (chart.id,),
            (report.id,),
        ]

    slack_scene.play(address, tmp_path, steps, saying(BOTH))


def test_a_file_that_slack_does_not_take_becomes_a_link(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: slack_scene.SlackScene) -> None:
        scene.files.home |= FILES
        for error in ("missing_scope", "file_uploads_disabled"):
            scene.fake.upload_error = error
            await slack.say(scene.fake, slack.written(scene.fake, "hello"))
            await scene.until("SELECT 1 FROM outbox WHERE state = 'sent'")
            assert scene.fake.messages.pop().text.startswith(f"chart: {PUBLIC_URL}/files/")
            scene.rows("DELETE FROM outbox")

    slack_scene.play(address, tmp_path, steps, saying("![chart](chart.png)"))


def test_a_file_that_did_not_get_to_slack_is_tried_again(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: slack_scene.SlackScene) -> None:
        since, channel, fake = utc_now(), scene.channel, scene.fake
        file = OutboundFile(name="a.txt", media_type="text/plain", size_bytes=3, content=b"abc")
        to = Address(channel="slack", address="D0ANN")
        message = OutboundMessage(tenant_id=TenantId(1), reply_id=1, part=1, to=to, text="Ann's & Bob's", file=file)
        asked = "files.getUploadURLExternal"
        for behaviour in (slack.Behaviour.FAIL, slack.Behaviour.BABBLE, slack.Behaviour.DROP):
            slack.behave(fake, behaviour, method=asked)
        fake.upload_statuses += [503, 400]
        for _ in range(5):
            result = await channel.send_file(message, file)
            assert (result.delivery, result.trouble) == (Delivery.FAILED, Trouble.NETWORK)
        slack.behave(fake, slack.Behaviour.SLOW_DOWN, method=asked)
        assert (await channel.send_file(message, file)).trouble is Trouble.BUSY
        assert await channel.find(message, since=since, known=()) == NotSeen()
        slack.behave(fake, slack.Behaviour.FATAL_TAKEN, method="files.completeUploadExternal")
        assert (await channel.send_file(message, file)).delivery is Delivery.UNKNOWN
        (shown,) = [one.file.id for one in fake.messages if one.file]
        assert await channel.find(message, since=since, known=()) == Seen(provider_id=shown, delivery=Delivery.SENT)
        assert await channel.find(message, since=since, known=(shown,)) == NotSeen()
        assert await channel.find(replace(message, text="other"), since=since, known=()) == NotSeen()

    slack_scene.play(address, tmp_path, steps)


def test_slacks_files_are_brought_to_its_host_alone(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: slack_scene.SlackScene) -> None:
        file = OutboundFile(name="a.txt", media_type="text/plain", size_bytes=3, content=b"abc")
        async with slack_client(scene.outside.gateway_socket) as client:
            for url in (
                "https://files.slack.com/api/chat.postMessage",
                "https://x/upload/../api/x",
                "https://x/upload",
            ):
                with pytest.raises(NotSent):
                    await client.upload(url, file.content)
            with pytest.raises(NotSent, match="HTTP 400"):
                await client.upload("https://elsewhere.example/upload/v1/F0?x=1", file.content)

    slack_scene.play(address, tmp_path, steps)


def test_discord_sends_files_and_finds_them_again(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: discord.FakeDiscord) -> None:
        scene.files.home |= FILES
        fake.behaviours += [discord.Behaviour.ACCEPT, discord.Behaviour.FAIL_TAKEN]
        await discord.say(fake, discord.written(fake, "the figures, please"))
        await scene.until("SELECT 1 FROM outbox WHERE state = 'sent'")
        assert [one["content"] for one in fake.sent] == ["Here they are.", "the chart", "the report"]
        assert [file["filename"] for one in fake.sent for file in one["attachments"]] == ["chart.png", "report.pdf"]
        assert list(fake.files.values()) == [PNG, PDF]
        assert scene.rows("SELECT provider_id FROM outbox_part ORDER BY part") == [(one["id"],) for one in fake.sent]

    test_discord.play(address, tmp_path, steps, saying(BOTH))


def test_where_discord_takes_no_file_a_link_goes(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: discord.FakeDiscord) -> None:
        scene.files.home |= FILES
        for count, behaviour in enumerate((discord.Behaviour.NO_FILE, discord.Behaviour.NO_PERMISSION), 1):
            fake.behaviours.append(behaviour)
            await discord.say(fake, discord.written(fake, "hello"))
            assert (await discord.until(fake, count))[-1].startswith(f"chart: {PUBLIC_URL}/files/")
        channel = scene.channels["discord"]
        assert isinstance(channel, SendsFiles)
        message = test_discord.to_person("x" * 100)
        for size_bytes, delivery in (
            (DISCORD_LIMIT_BYTES - FORM_LIMIT_BYTES, Delivery.SENT),
            (DISCORD_LIMIT_BYTES, Delivery.FAILED),
        ):
            assert channel.takes(message.to, "text/plain", size_bytes) == (delivery is Delivery.SENT)
            content = b"x" * size_bytes
            file = OutboundFile(name="x" * 255, media_type="text/plain", size_bytes=size_bytes, content=content)
            result = await channel.send_file(replace(message, reply_id=size_bytes), file)
            assert result.delivery is delivery
        assert result.trouble is Trouble.FILE

    test_discord.play(address, tmp_path, steps, saying("![chart](chart.png)"))


def test_files_go_by_mail_each_in_the_thread(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(post: test_email.Post) -> None:
        post.scene.files.home |= FILES
        await post.say("the figures, please")
        answer, chart, report = await post.relay.until(3)
        assert answer.text() == "Here they are."
        assert (chart.text(), report.text()) == ("Attached: the chart", "Attached: the report")
        assert chart.files() == [("chart.png", "image/png", PNG)]
        assert report.files() == [("report.pdf", "application/pdf", PDF)]
        assert len({one.message["in-reply-to"] for one in (answer, chart, report)}) == 1
        assert len({one.message["message-id"] for one in (answer, chart, report)}) == 3

    test_email.play(address, tmp_path, steps, saying(BOTH))


def test_a_file_that_the_relay_does_not_take_becomes_a_link(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(post: test_email.Post) -> None:
        post.scene.files.home |= FILES
        post.relay.behaviours.append(smtp.Behaviour.REFUSE_CONTENT)
        await post.say("hello")
        (taken,) = await post.relay.until(1)
        assert taken.text().startswith(f"chart: {PUBLIC_URL}/files/")
        assert taken.files() == []

    test_email.play(address, tmp_path, steps, saying("![chart](chart.png)"))


def test_the_largest_file_passes_the_gateway_by_mail(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(post: test_email.Post) -> None:
        channel = post.scene.channels["email"]
        assert isinstance(channel, SendsFiles)
        content = bytes(range(256)) * (EMAIL_LIMIT_BYTES // 256)
        file = OutboundFile(name="né\nw.bin", media_type="message/x", size_bytes=len(content), content=content)
        message = replace(test_email.outbound("all of it"), file=file)
        assert channel.takes(message.to, file.media_type, file.size_bytes)
        assert not channel.takes(message.to, file.media_type, file.size_bytes + 1)
        assert (await channel.send_file(message, file)).delivery is Delivery.SENT
        (taken,) = await post.relay.until(1)
        assert taken.files() == [("né w.bin", "application/octet-stream", content)]

    test_email.play(address, tmp_path, steps)


Steps = Callable[[Scene, FakeTwilio], Awaitable[None]]


def by_sms(
    address: DatabaseAddress, folder: Path, steps: Steps, answer: Answer, *, public_url: str | None = PUBLIC_URL
) -> None:
    async def scenario() -> None:
        async with fake_twilio(account_sid=ACCOUNT, auth_token=TOKEN) as fake:
            environ = {
                "TWILIO_ACCOUNT_SID": ACCOUNT,
                "TWILIO_AUTH_TOKEN": TOKEN,
                "TWILIO_NUMBER": NUMBER,
                "TWILIO_BASE_URL": fake.base_url,
                "TWILIO_MEDIA_BASE_URL": fake.media_url,
            }
            async with channel_scene(address, folder, environ, answer, public_url=public_url) as scene:
                scene.files.home |= FILES
                fake.receipts_to = scene.url
                await steps(scene, fake)

    run(scenario)


async def text_in(scene: Scene, params: dict[str, str]) -> str:
    to_url, signed_url = scene.url + WEBHOOK_PATH, PUBLIC_URL + WEBHOOK_PATH
    ((status, answer),) = await deliver(to_url=to_url, signed_url=signed_url, auth_token=TOKEN, params=params)
    assert status == 200
    return answer


async def sent_by(scene: Scene, fake: FakeTwilio, count: int) -> list[str]:
    async with asyncio.timeout(30):
        while len(fake.messages) < count:
            await asyncio.sleep(0.01)
    await scene.until("SELECT 1 WHERE NOT EXISTS (SELECT FROM outbox WHERE state NOT IN ('sent', 'delivered'))")
    return [message.text for message in fake.messages]


def sms(sender: str) -> dict[str, str]:
    return inbound_sms(account_sid=ACCOUNT, sender=sender, to=NUMBER, text="hello")


def test_a_picture_goes_by_mms_from_an_address_that_twilio_can_fetch(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeTwilio) -> None:
        await text_in(scene, sms(PERSON))
        assert await sent_by(scene, fake, 3) == ["Here they are.", "the chart", "the report"]
        _, chart, report = fake.messages
        (url,) = chart.media_urls
        async with aiohttp.ClientSession() as session, session.get(url.replace(PUBLIC_URL, scene.url)) as response:
            assert (response.status, response.content_type) == (200, "image/png")
            assert await response.read() == PNG
        assert len(report.media_urls) == 1
        await send_receipt(fake, chart, "delivered")
        await scene.until("SELECT 1 FROM outbox_part WHERE part = 1 AND state = 'delivered'")
        assert scene.rows("SELECT name FROM outgoing_file") == [("report.pdf",)]

    by_sms(address, tmp_path, steps, saying(BOTH))


def test_who_is_abroad_is_texted_links(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeTwilio) -> None:
        await text_in(scene, sms(ABROAD))
        (text,) = await sent_by(scene, fake, 1)
        urls = re.findall(rf"{PUBLIC_URL}(/files/\S+)", text)
        assert [url.rpartition("/")[2] for url in urls] == ["chart.png", "report.pdf"]
        assert fake.messages[0].media_urls == ()

    by_sms(address, tmp_path, steps, saying(BOTH))


def test_a_file_that_twilio_does_not_take_becomes_a_link(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeTwilio) -> None:
        fake.behaviours += [twilio.Behaviour.ACCEPT, twilio.Behaviour.NO_MEDIA]
        await text_in(scene, sms(PERSON))
        _, link, report = await sent_by(scene, fake, 3)
        assert link.startswith(f"the chart: {PUBLIC_URL}/files/")
        assert report == "the report"

    by_sms(address, tmp_path, steps, saying(BOTH))


def test_an_mms_whose_answer_was_lost_is_found_among_text_messages(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeTwilio) -> None:
        fake.behaviours += [twilio.Behaviour.ACCEPT, twilio.Behaviour.FAIL_TAKEN]
        await text_in(scene, sms(PERSON))
        assert await sent_by(scene, fake, 2) == ["chart", "chart"]
        assert [len(message.media_urls) for message in fake.messages] == [0, 1]
        channel = scene.channels["sms"]
        assert isinstance(channel, Reconciles)
        file = OutboundFile(name="chart.png", media_type="image/png", size_bytes=1, content=b"")
        to = Address(channel="sms", address=PERSON)
        message = OutboundMessage(tenant_id=TenantId(1), reply_id=1, part=0, to=to, text="chart", file=file)
        found = await channel.find(message, since=fake.messages[0].taken_at, known=())
        assert isinstance(found, Seen)
        assert found.provider_id == fake.messages[1].sid

    by_sms(address, tmp_path, steps, saying("chart\n\n![chart](chart.png)"))


def test_where_the_world_cannot_reach_this_host_the_agent_is_told(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeTwilio) -> None:
        await text_in(scene, sms(PERSON))
        (text,) = await sent_by(scene, fake, 1)
        assert "/home/agent/chart.png: such files cannot be sent in this channel" in text
        assert scene.rows("SELECT count(*) FROM outgoing_file") == [(0,)]

    by_sms(address, tmp_path, steps, saying("![chart](chart.png)"), public_url=None)


def test_files_that_come_by_mms_are_put_into_the_machine(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeTwilio) -> None:
        files = {b"\xff\xd8\xff\xe0 a picture": "image/jpeg", b"BEGIN:VCARD": "text/x-vcard"}
        await text_in(scene, inbound_mms(fake, sender=PERSON, to=NUMBER, text="", files=files))
        (text,) = await sent_by(scene, fake, 1)
        paths = [path for _, path in scene.files.written]
        assert [path[-11:] for path in paths] == ["-1-file.jpg", "-2-file.vcf"]
        assert list(scene.files.written.values()) == list(files)
        assert f"{paths[0]} (image/jpeg, 14 bytes)" in text
        assert TOKEN not in text

    by_sms(address, tmp_path, steps, lambda prompt: words(said(prompt)[-1]))


def test_files_are_fetched_from_where_twilio_keeps_them_and_nowhere_else(
    address: DatabaseAddress, tmp_path: Path
) -> None:
    async def steps(scene: Scene, fake: FakeTwilio) -> None:
        fake.strays = True
        params = inbound_mms(fake, sender=PERSON, to=NUMBER, text="look", files={b"\x89PNG": "image/png"})
        await text_in(scene, params)
        (text,) = await sent_by(scene, fake, 1)
        assert "could not be fetched just now" in text
        fake.media.clear()
        fake.strays = False
        await text_in(scene, params | {"MessageSid": "SM2"})
        assert "does not have it any more" in (await sent_by(scene, fake, 2))[1]
        params = inbound_mms(fake, sender=PERSON, to=NUMBER, text="", files={b"x": "image/png"})
        answer = await text_in(scene, params | {"MediaUrl0": "https://evil.example/2010-04-01/Messages.json"})
        assert "could not get what you sent" in answer

    by_sms(address, tmp_path, steps, lambda prompt: words(said(prompt)[-1]))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_whoever_has_the_link_can_save_a_file_and_do_nothing_else_with_it(
    address: DatabaseAddress, tmp_path: Path, method: str
) -> None:
    async def steps(scene: Scene, fake: FakeTwilio) -> None:
        await text_in(scene, sms(ABROAD))
        (text,) = await sent_by(scene, fake, 1)
        (page_url, chart_url) = re.findall(rf"{PUBLIC_URL}(/files/\S+)", text)
        async with aiohttp.ClientSession(scene.url) as session:
            async with session.request(method, page_url) as response:
                assert (response.status, response.content_type) == (200, "application/octet-stream")
                assert response.headers["Content-Disposition"] == "attachment; filename*=UTF-8''page.html"
                assert response.headers["X-Content-Type-Options"] == "nosniff"
                assert response.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
                assert response.headers["Content-Length"] == str(len(FILES["/home/agent/page.html"]))
            async with session.request(method, chart_url) as response:
                assert await response.read() == (PNG if method == "GET" else b"")
            for other in (f"/files/{'x' * 43}/page.html", f"/files/{page_url.split('/')[2][:-1]}/page.html", "/files/"):
                async with session.request(method, other) as response:
                    assert response.status == 404
            scene.rows("UPDATE outgoing_file SET made_at = made_at - interval '31 days'")
            async with session.request(method, page_url) as response:
                assert response.status == 404

    by_sms(address, tmp_path, steps, saying("[page](page.html) [chart](chart.png)"))
