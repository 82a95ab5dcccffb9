"""WhatsApp in both directions, by pywa and through the gateway, against a WhatsApp on loopback."""

import asyncio
import io
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from tests.real.channel_scene import PUBLIC_URL, Answer, Scene, channel_scene, echo, said

from subclaw.channels.registry import read_channels
from subclaw.channels.whatsapp.settings import CHALLENGE_SCHEME, WEBHOOK_PATH
from subclaw.core.channel import Address, Delivery, Fetches, OutboundMessage, SendResult, ShowsTyping, Trouble
from subclaw.core.errors import Invalid, NotFound, Unavailable
from subclaw.core.model import ModelReply, Prompt
from subclaw.core.tenant import TenantId
from subclaw.egress.control.client import gateway_client, webhook_secret
from subclaw.store.database import DatabaseAddress
from subclaw.testing.channels.whatsapp import (
    Behaviour,
    FakeWhatsApp,
    fake_whatsapp,
    post,
    receipt,
    say,
    sign,
    tell,
    until,
    until_read,
    webhook,
    written,
)
from subclaw.testing.egress import run
from subclaw.testing.models import words

TOKEN, APP_SECRET = "EAAcanary0123456789", "canary-app-secret"
PHONE_ID, NUMBER = "106540352242922", "+15550783881"
PERSON, HIDDEN, ELSEWHERE = "16505551234", "US.13491208655302741918", "491701234567"
DAY_S = 86_400
QUIET = """
    SELECT 1 WHERE NOT EXISTS (SELECT FROM outbox WHERE state IN ('queued', 'sending'))
        AND NOT EXISTS (SELECT FROM conversation WHERE inbox_seq > drained_seq OR turn_open OR owner IS NOT NULL)
"""

Steps = Callable[[Scene, FakeWhatsApp], Awaitable[None]]


def a_fake(*, port: int = 0) -> AbstractAsyncContextManager[FakeWhatsApp]:
    return fake_whatsapp(token=TOKEN, app_secret=APP_SECRET, phone_number_id=PHONE_ID, number=NUMBER, port=port)


def environment(base_url: str, **more: str) -> dict[str, str]:
    given = {
        "WHATSAPP_PHONE_NUMBER_ID": PHONE_ID,
        "WHATSAPP_NUMBER": NUMBER,
        "WHATSAPP_COUNTRIES": "+1",
        "WHATSAPP_ACCESS_TOKEN": TOKEN,
        "WHATSAPP_APP_SECRET": APP_SECRET,
        "WHATSAPP_BASE_URL": base_url,
        "WHATSAPP_FILES_BASE_URL": base_url,
    }
    return given | more


@asynccontextmanager
async def whatsapp(
    address: DatabaseAddress, folder: Path, answer: Answer = echo, **more: str
) -> AsyncIterator[tuple[Scene, FakeWhatsApp]]:
    async with a_fake() as fake, channel_scene(address, folder, environment(fake.base_url, **more), answer) as scene:
        fake.webhooks_to = scene.url + WEBHOOK_PATH
        yield scene, fake


def play(address: DatabaseAddress, folder: Path, steps: Steps, answer: Answer = echo, **more: str) -> None:
    async def scenario() -> None:
        async with whatsapp(address, folder, answer, **more) as (scene, fake):
            await steps(scene, fake)
            await scene.until(QUIET)

    run(scenario)


async def text_out(scene: Scene, text: str, *, person: str = PERSON, part: int = 0) -> SendResult:
    to = Address(channel="whatsapp", address=person)
    message = OutboundMessage(tenant_id=TenantId(1), reply_id=1, part=part, to=to, text=text)
    return await scene.channels["whatsapp"].send(message)


@pytest.mark.parametrize("person", [PERSON, HIDDEN])
def test_a_strangers_first_message_is_answered(
    address: DatabaseAddress, tmp_path: Path, caplog: pytest.LogCaptureFixture, person: str
) -> None:
    caplog.set_level(logging.DEBUG)

    async def steps(scene: Scene, fake: FakeWhatsApp) -> None:
        text = "Build me an invoice generator & more 🎉 שלום"
        assert await say(fake, written(fake, text, person=person)) == 0
        assert await until(fake, 1) == [f"You said: {text}"]
        assert fake.messages[0].to == person
        assert scene.rows("SELECT channel, address FROM identity") == [("whatsapp", person)]
        await scene.until("SELECT 1 FROM outbox WHERE state = 'sent'")
        await tell(fake, receipt(fake.messages[0], "read"), receipt(fake.messages[0], "delivered"))
        assert scene.rows("SELECT state, provider_id FROM outbox_part") == [("delivered", fake.messages[0].message_id)]

    play(address, tmp_path, steps)
    for secret in (TOKEN, APP_SECRET, "invoice generator"):
        assert secret not in caplog.text


def test_what_is_delivered_again_is_stored_once(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeWhatsApp) -> None:
        await say(fake, written(fake, "once", person=PERSON), deliveries=4)
        await say(fake, written(fake, "and then", person=PERSON))
        assert sorted(await until(fake, 2)) == ["You said: and then", "You said: once"]
        assert scene.rows("SELECT count(*) FROM inbox") == [(2,)]
        assert fake.answers == [200] * 5

    play(address, tmp_path, steps)


@pytest.mark.parametrize("spoil", ["missing", "empty", "other secret", "other bytes", "sha1", "long"])
def test_a_forged_signature_is_refused_and_nothing_is_stored(
    address: DatabaseAddress, tmp_path: Path, spoil: str
) -> None:
    async def steps(scene: Scene, fake: FakeWhatsApp) -> None:
        body = webhook(fake, [written(fake, "send me ü your secrets", person=PERSON)])
        signature = sign("another" if spoil == "other secret" else APP_SECRET, body)
        given = {"empty": "", "sha1": signature.replace("sha256", "sha1"), "long": signature + "0" * 5_000}
        headers = {"Content-Type": "application/json", "X-Hub-Signature-256": given.get(spoil, signature)}
        if spoil == "missing":
            del headers["X-Hub-Signature-256"]
        if spoil == "other bytes":  # the same JSON
            body = body.replace(b"\\u00fc", "ü".encode())
        async with (
            aiohttp.ClientSession() as session,
            session.post(fake.webhooks_to, data=io.BytesIO(body), headers=headers) as response,
        ):
            assert response.status == 403
        assert scene.rows("SELECT count(*) FROM tenant") == [(0,)]

    play(address, tmp_path, steps)


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{}", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"entry": []}', "application/json", 200),
        (b'{"entry": []}', "text/plain", 415),
        (b" " * 3_300_000, "application/json", 413),
    ],
)
def test_what_is_no_webhook(
    address: DatabaseAddress, tmp_path: Path, body: bytes, content_type: str, status: int
) -> None:
    async def steps(scene: Scene, fake: FakeWhatsApp) -> None:
        headers = {"X-Hub-Signature-256": sign(APP_SECRET, body), "Content-Type": content_type}
        async with (
            aiohttp.ClientSession() as session,
            session.post(fake.webhooks_to, data=io.BytesIO(body), headers=headers) as response,
        ):
            assert response.status == status
        assert scene.rows("SELECT count(*) FROM inbox") == [(0,)]

    play(address, tmp_path, steps)


def test_a_webhook_of_three_megabytes_is_taken(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeWhatsApp) -> None:
        texts = [f"{number} " + "word " * 800 for number in range(5)]
        body = webhook(fake, [written(fake, text, person=PERSON) for text in texts])
        body = body.replace(b'"contacts":[]', b'"contacts":[' + b" " * (3_000_000 - len(body)) + b"]")
        assert await post(fake, body) == 0
        assert scene.rows("SELECT count(*) FROM inbox") == [(5,)]

    play(address, tmp_path, steps)


def test_the_challenge_is_answered_to_who_knows_the_verify_token(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeWhatsApp) -> None:
        async with gateway_client(scene.outside.gateway_socket) as gateway:
            token = await webhook_secret(gateway, CHALLENGE_SCHEME)
        query = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": token}
        async with aiohttp.ClientSession() as session:

            async def ask(**more: str) -> tuple[int, str]:
                params = query | {name.replace("_", ".", 1): value for name, value in more.items()}
                async with session.get(fake.webhooks_to, params=params) as response:
                    return response.status, await response.text()

            assert await ask() == (200, "1158201444")
            assert (await ask(hub_verify_token="forged"))[0] == 403
            assert (await ask(hub_verify_token=""))[0] == 403
            assert (await ask(hub_verify_token=token.upper()))[0] == 403
            assert (await ask(hub_challenge="<script>"))[0] == 400
            assert (await ask(hub_mode="unsubscribe"))[0] == 400

    play(address, tmp_path, steps)


def test_ten_messages_at_once_are_told_in_order(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeWhatsApp) -> None:
        messages = [written(fake, f"message {number}", person=PERSON) for number in range(10)]
        await say(fake, *messages[:3])
        for message in messages[3:]:
            await say(fake, message)
        await scene.until("SELECT 1 FROM conversation WHERE drained_seq = 10 AND NOT turn_open AND owner IS NULL")
        assert said(scene.model.prompts[-1]) == [f"message {number}" for number in range(10)]
        replied = [int(one.text.rpartition(" ")[2]) for one in fake.messages]
        assert replied == sorted(replied)

    play(address, tmp_path, steps)


LONG = "# A report\n\n" + "\n\n".join(
    f"Paragraph **{number}** has words and `code`.\n\n```python\n" + "print('🎉')\n" * 40 + "```"
    for number in range(20)
)


def test_a_long_reply_is_cut_into_messages_that_whatsapp_takes(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeWhatsApp) -> None:
        await say(fake, written(fake, "report", person=PERSON))
        await scene.until("SELECT 1 FROM outbox WHERE state = 'sent'")
        texts = [message.text for message in fake.messages]
        assert len(texts) >= 3
        whole = "".join(texts)
        assert whole.startswith("*A report*")
        assert whole.count("print('🎉')") == 20 * 40
        assert all(f"Paragraph *{number}* has words and `code`." in whole for number in range(20))
        assert all(text.count("```") % 2 == 0 for text in texts)
        assert {message.tracker.rpartition("/")[2] for message in fake.messages} == {str(n) for n in range(len(texts))}

    play(address, tmp_path, steps, lambda _: words(LONG))


@pytest.mark.parametrize(
    ("behaviour", "delivery", "trouble", "detail"),
    [
        (Behaviour.SLOW_DOWN, Delivery.FAILED, Trouble.BUSY, "too many messages go out"),
        (Behaviour.PAIR_LIMIT, Delivery.FAILED, Trouble.BUSY, "too many messages went to this person"),
        (Behaviour.UNREACHABLE, Delivery.FAILED, Trouble.REFUSED, "cannot be reached"),
        (Behaviour.CLOSED, Delivery.FAILED, Trouble.REFUSED, "WHATSAPP_TEMPLATE is not set"),
        (Behaviour.EXPIRED, Delivery.FAILED, Trouble.ACCOUNT, "has expired"),
        (Behaviour.BLOCKED, Delivery.FAILED, Trouble.ACCOUNT, "restricted"),
        (Behaviour.SERVICE, Delivery.FAILED, Trouble.BUSY, "just now"),
        (Behaviour.FAIL, Delivery.UNKNOWN, Trouble.REFUSED, "HTTP 500"),
        (Behaviour.FAIL_TAKEN, Delivery.UNKNOWN, Trouble.REFUSED, "HTTP 500"),
        (Behaviour.DROP, Delivery.UNKNOWN, Trouble.REFUSED, ""),
        (Behaviour.BABBLE, Delivery.UNKNOWN, Trouble.REFUSED, "not understood"),
    ],
)
def test_what_is_known_of_a_message_that_went_wrong(
    address: DatabaseAddress, tmp_path: Path, behaviour: Behaviour, delivery: Delivery, trouble: Trouble, detail: str
) -> None:
    async def steps(scene: Scene, fake: FakeWhatsApp) -> None:
        fake.last_written[PERSON] = 2e9
        fake.behaviours.append(behaviour)
        result = await text_out(scene, "a tenant's words")
        assert (result.delivery, result.trouble) == (delivery, trouble)
        assert detail in result.detail
        for private in (PERSON, "tenant's words", TOKEN):
            assert private not in result.detail

    play(address, tmp_path, steps)


def test_a_lost_answer_is_settled_by_a_receipt(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeWhatsApp) -> None:
        fake.behaviours.append(Behaviour.DROP)
        await say(fake, written(fake, "hello", person=PERSON))
        await scene.until("SELECT 1 FROM outbox WHERE state = 'unknown'")
        await tell(fake, receipt(fake.messages[0], "delivered"))
        assert scene.rows("SELECT state FROM outbox") == [("delivered",)]
        assert len(fake.messages) == 1

    play(address, tmp_path, steps)


def test_what_did_not_arrive_is_told(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeWhatsApp) -> None:
        await say(fake, written(fake, "hello", person=PERSON))
        await scene.until("SELECT 1 FROM outbox WHERE state = 'sent'")
        await tell(fake, receipt(fake.messages[0], "failed", code=131026))
        ((detail,),) = await scene.until("SELECT detail FROM outbox_part WHERE state = 'failed'")
        assert "cannot be reached" in str(detail)
        assert PERSON not in str(detail)

    play(address, tmp_path, steps)


def test_busy_and_away_for_a_while(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeWhatsApp) -> None:
        fake.behaviours.extend([Behaviour.SERVICE, Behaviour.SLOW_DOWN])
        await say(fake, written(fake, "hello", person=PERSON))
        assert await until(fake, 1) == ["You said: hello"]
        await scene.until("SELECT 1 FROM outbox WHERE state = 'sent' AND attempts = 3")

    play(address, tmp_path, steps)


def test_a_reply_waits_for_a_whatsapp_that_is_down(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with a_fake() as first:
            port = int(first.base_url.rpartition(":")[2])
        async with channel_scene(address, tmp_path, environment(first.base_url)) as scene:
            assert (await text_out(scene, "hello")).trouble is Trouble.NETWORK
            first.webhooks_to = scene.url + WEBHOOK_PATH
            await say(first, written(first, "are you there?", person=PERSON))
            await scene.until("SELECT 1 FROM outbox WHERE state = 'queued' AND attempts >= 1 AND detail <> ''")
            async with a_fake(port=port) as back:
                back.last_written = first.last_written
                assert await until(back, 1) == ["You said: are you there?"]
                await scene.until("SELECT 1 FROM outbox WHERE state = 'sent'")

    run(scenario)


def test_when_messages_cannot_be_stored_they_are_brought_again(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeWhatsApp) -> None:
        scene.rows("ALTER TABLE inbox ADD CONSTRAINT full_up CHECK (false) NOT VALID")
        saying = asyncio.create_task(say(fake, written(fake, "hello", person=PERSON)))
        async with asyncio.timeout(30):
            while len(fake.answers) < 3:
                await asyncio.sleep(0.01)
        scene.rows("ALTER TABLE inbox DROP CONSTRAINT full_up")
        assert await saying == len(fake.answers) - 1
        assert await until(fake, 1) == ["You said: hello"]
        assert set(fake.answers[:-1]) <= {500, 503}

    play(address, tmp_path, steps)


def test_after_24_hours_nothing_is_asked_of_whatsapp(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeWhatsApp) -> None:
        await say(fake, written(fake, "hello", person=PERSON, ago_s=DAY_S + 60))
        ((detail,),) = await scene.until("SELECT detail FROM outbox WHERE state = 'failed'")
        assert "has not written for 24 hours" in str(detail)
        assert "WHATSAPP_TEMPLATE is not set" in str(detail)
        assert (fake.requests, fake.messages) == (0, [])
        await say(fake, written(fake, "here again", person=PERSON))
        assert len(await until(fake, 1)) == 1

    play(address, tmp_path, steps)


def test_what_is_said_to_subclaw_itself_opens_the_window_too(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeWhatsApp) -> None:
        await say(fake, written(fake, "hello", person=PERSON, ago_s=DAY_S + 60))
        await scene.until("SELECT 1 FROM outbox WHERE state = 'failed'")
        await say(fake, written(fake, "link", person=PERSON))
        (text,) = await until(fake, 1)
        assert "code" in text.lower()

    play(address, tmp_path, steps)


def test_after_24_hours_a_reply_goes_by_the_template(address: DatabaseAddress, tmp_path: Path) -> None:
    long = "Your **site** is live.\n\n- one\n\ttwo      three\n" + "word " * 2_000

    async def steps(scene: Scene, fake: FakeWhatsApp) -> None:
        fake.templates.add(("news", "en_US"))
        await say(fake, written(fake, "hello", person=PERSON, ago_s=DAY_S + 60))
        (text,) = await until(fake, 1)
        assert text.startswith("Your *site* is live. • one two three word word")
        assert text.endswith(" …")
        assert fake.messages[0].template == "news"
        ((detail,),) = await scene.until("SELECT detail FROM outbox WHERE state = 'failed'")
        assert "only the beginning" in str(detail)

    play(address, tmp_path, steps, lambda _: words(long), WHATSAPP_TEMPLATE="news:en_US")


def test_where_whatsapp_knows_the_window_better_the_template_goes(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeWhatsApp) -> None:
        fake.templates.add(("news", "en_US"))
        assert (await text_out(scene, "nobody knows when they wrote")).delivery is Delivery.SENT
        assert (fake.messages[0].template, fake.requests) == ("news", 2)
        fake.templates.clear()
        result = await text_out(scene, "hello")
        assert (result.delivery, result.trouble) == (Delivery.FAILED, Trouble.REFUSED)
        assert "WHATSAPP_TEMPLATE" in result.detail

    play(address, tmp_path, steps, WHATSAPP_TEMPLATE="news:en_US")


def test_who_is_elsewhere_is_told_once_and_nothing_of_theirs_is_kept(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeWhatsApp) -> None:
        for text in ("hello", "anybody there?"):
            await say(fake, written(fake, text, person=ELSEWHERE))
        await say(fake, written(fake, "hi", person="DE.134"), written(fake, "hello", person=PERSON))
        await until(fake, 3)
        told = {message.to: message.text for message in fake.messages}
        assert set(told) == {ELSEWHERE, "DE.134", PERSON}
        assert "in your country" in told[ELSEWHERE]
        assert PUBLIC_URL in told[ELSEWHERE]
        assert scene.rows("SELECT address FROM identity") == [(PERSON,)]
        result = await text_out(scene, "a reminder", person=ELSEWHERE)
        assert (result.delivery, result.trouble) == (Delivery.FAILED, Trouble.REFUSED)
        assert "WHATSAPP_COUNTRIES" in result.detail
        assert len(fake.messages) == 3

    play(address, tmp_path, steps)


def test_nobody_is_served_unless_the_operator_says_so(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeWhatsApp) -> None:
        await say(fake, written(fake, "hello", person=PERSON))
        assert "in your country" in (await until(fake, 1))[0]
        assert scene.rows("SELECT count(*) FROM tenant") == [(0,)]

    play(address, tmp_path, steps, WHATSAPP_COUNTRIES="")


def test_what_it_cannot_read_is_answered_in_words(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeWhatsApp) -> None:
        await say(fake, written(fake, person=PERSON, type="unsupported", errors=[{"code": 131051}]))
        assert "can't read" in (await until(fake, 1))[0]
        await say(fake, written(fake, "\x00", person=PERSON))
        assert "empty" in (await until(fake, 2))[1]
        reaction = {"message_id": "wamid.x", "emoji": "👍"}
        await say(fake, written(fake, person=PERSON, type="reaction", reaction=reaction))
        place = {"latitude": 52.5, "longitude": 13.4}
        await say(fake, written(fake, person=PERSON, type="location", location=place))
        assert "52.5" in (await until(fake, 3))[2]

    play(address, tmp_path, steps)


def test_typing_is_shown_and_what_was_said_is_read(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario() -> None:
        thinking = asyncio.Event()
        async with whatsapp(address, tmp_path) as (scene, fake):
            ask = scene.model.ask

            async def slowly(prompt: Prompt) -> ModelReply:
                await thinking.wait()
                return await ask(prompt)

            scene.model.ask = slowly  # type: ignore[method-assign]
            message = written(fake, "think", person=PERSON)
            await say(fake, message)
            assert await until_read(fake, message["id"])
            channel = scene.channels["whatsapp"]
            assert isinstance(channel, ShowsTyping)
            await channel.typing(Address(channel="whatsapp", address=PERSON))
            await channel.typing(Address(channel="whatsapp", address="15550000000"))
            assert fake.indicators == [(message["id"], True)]
            thinking.set()
            assert await until(fake, 1) == ["You said: think"]

    run(scenario)


def test_files_are_fetched_within_bounds(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeWhatsApp) -> None:
        channel = scene.channels["whatsapp"]
        assert isinstance(channel, Fetches)
        fake.files |= {"100001": ("image/gif", b"\x00\xffGIF"), "100002": ("image/gif", b"x" * 1_001)}
        assert await channel.fetch("100001", 1_000) == b"\x00\xffGIF"
        with pytest.raises(Invalid):
            await channel.fetch("100002", 1_000)
        with pytest.raises(NotFound):
            await channel.fetch("100003", 1_000)
        fake.base_url = "https://elsewhere.example"
        with pytest.raises(Unavailable):
            await channel.fetch("100001", 1_000)
        fake.token = "another"
        with pytest.raises(Unavailable):
            await channel.fetch("100001", 1_000)

    play(address, tmp_path, steps)


def test_a_picture_is_put_into_the_machine(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeWhatsApp) -> None:
        fake.files["100001"] = ("image/jpeg", b"\xff\xd8\xff\xe0 a picture")
        picture = {"id": "100001", "mime_type": "image/jpeg", "sha256": "x", "caption": "what is this?"}
        await say(fake, written(fake, person=PERSON, type="image", image=picture))
        await until(fake, 1)
        assert list(scene.files.written.values()) == [fake.files["100001"][1]]
        assert said(scene.model.prompts[-1])[0].startswith("what is this?")

    play(address, tmp_path, steps)


def test_the_doctor_makes_a_real_call(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeWhatsApp) -> None:
        async def check(**more: str) -> str:
            (set_up,) = [
                one
                for one in read_channels(environment(fake.base_url, **more))
                if one.kind.name == "whatsapp" and one.check
            ]
            assert set_up.check is not None
            return await set_up.check(scene.outside)

        told = await check()
        assert told.startswith(f"{NUMBER} answers, its quality is GREEN; persons from +1 are served; ")
        assert "fails, since WHATSAPP_TEMPLATE is not set" in told
        assert "nobody is served" in await check(WHATSAPP_COUNTRIES="")
        assert "by the template news" in await check(WHATSAPP_TEMPLATE="news:en")
        with pytest.raises(Unavailable) as caught:
            await check(WHATSAPP_NUMBER="+15550000000")
        assert "WHATSAPP_NUMBER is +15550000000" in caught.value.public
        fake.token = "another"
        with pytest.raises(Unavailable) as caught:
            await check()
        assert "has expired" in caught.value.public

    play(address, tmp_path, steps)
