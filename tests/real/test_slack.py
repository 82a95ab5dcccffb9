"""Slack in both directions, by its library and through the gateway, against a Slack on loopback."""

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from tests.real.channel_scene import said
from tests.real.slack_scene import SIGNING_SECRET, TOKEN, SlackScene, environ, play, scene_with

from subclaw.channels.registry import SECRETS, read_channels
from subclaw.core.channel import (
    Address,
    Delivery,
    Fetches,
    NotSeen,
    NotTold,
    OutboundMessage,
    Seen,
    SendResult,
    Trouble,
)
from subclaw.core.errors import Invalid, NotFound, Unavailable
from subclaw.core.model import ModelReply, Prompt
from subclaw.core.tenant import TenantId
from subclaw.store.database import DatabaseAddress
from subclaw.testing.channels.slack import (
    BOT,
    MARKDOWN_LIMIT,
    Behaviour,
    behave,
    envelope,
    fake_slack,
    post,
    say,
    until,
    written,
)
from subclaw.testing.egress import run
from subclaw.testing.models import words

ROOM = "C0ROOM"
TAKEN = "SELECT 1 FROM conversation WHERE drained_seq = {} AND NOT turn_open AND owner IS NULL"


def outbound(text: str, *, place: str = "D0ANN", thread: str = "", part: int = 0) -> OutboundMessage:
    to = Address(channel="slack", address=place, thread=thread)
    return OutboundMessage(tenant_id=TenantId(7), reply_id=41, part=part, to=to, text=text)


async def send(scene: SlackScene, text: str = "private words", place: str = "D0ANN") -> SendResult:
    return await scene.channel.send(outbound(text, place=place))


def test_a_strangers_first_message_is_answered(
    address: DatabaseAddress, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def steps(scene: SlackScene) -> None:
        text = "Build me an invoice generator & more 🎉 שלום"
        assert await say(scene.fake, written(scene.fake, text.replace("&", "&amp;")))
        assert await until(scene.fake, 1) == [f"You said: {text}"]
        (message,) = scene.fake.messages
        assert (message.place, message.thread, message.formatted) == ("D0ANN", "", True)
        assert (message.sent["unfurl_links"], message.sent["unfurl_media"]) == (False, False)
        assert scene.rows("SELECT channel, address FROM identity") == [("slack", "D0ANN")]
        assert await scene.until("SELECT provider_id FROM outbox_part WHERE state = 'sent'") == [(message.ts,)]

    play(address, tmp_path, steps)
    for canary in (TOKEN, SIGNING_SECRET, "invoice"):
        assert canary not in caplog.text


def test_slack_is_told_that_the_address_is_ours(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: SlackScene) -> None:
        body = json.dumps({"token": "x", "challenge": "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmd", "type": "url_verification"})
        answer = await post(scene.fake, body.encode())
        assert json.loads(answer.text) == {"challenge": "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmd"}

    play(address, tmp_path, steps)


def test_what_is_delivered_again_is_stored_once(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: SlackScene) -> None:
        mentioned = written(scene.fake, f"<@{BOT}> once", place=ROOM, kind="app_mention")
        assert await say(scene.fake, mentioned, deliveries=4)
        assert [one.retry for one in scene.fake.deliveries] == [0, 1, 2, 3]
        event = {**mentioned["event"], "type": "message"}
        assert await say(scene.fake, envelope(scene.fake, event)), "the same message, as another event"
        assert await say(scene.fake, written(scene.fake, f"<@{BOT}> and then", place=ROOM))
        await scene.until(TAKEN.format(2))
        assert scene.rows("SELECT count(*) FROM inbox") == [(2,)]
        assert {one.status for one in scene.fake.deliveries} == {200}

    play(address, tmp_path, steps)


@pytest.mark.parametrize(
    ("headers", "age_s"),
    [
        ({"X-Slack-Signature": "v0=" + "0" * 64}, 0),
        ({"X-Slack-Signature": ""}, 0),
        ({"X-Slack-Signature": "v0=ü"}, 0),
        ({"X-Slack-Request-Timestamp": ""}, 0),
        ({"X-Slack-Request-Timestamp": "soon"}, 0),
        ({"X-Slack-Request-Timestamp": "9" * 1_000}, 0),
        ({}, 301),
        ({}, -310),
    ],
)
def test_what_slack_did_not_sign_just_now_is_refused(
    address: DatabaseAddress, tmp_path: Path, headers: Mapping[str, str], age_s: float
) -> None:
    async def steps(scene: SlackScene) -> None:
        body = json.dumps(written(scene.fake, "let me in")).encode()
        answer = await post(scene.fake, body, headers, signed_at=time.time() - age_s)
        assert (answer.status, answer.text) == (403, "no retry")
        assert scene.rows("SELECT count(*) FROM tenant") == [(0,)]
        assert (await post(scene.fake, body, signed_at=time.time() - 290)).status == 200

    play(address, tmp_path, steps)


def test_another_body_than_was_signed_is_refused(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: SlackScene) -> None:
        scene.fake.signing_secret = "not the operator's"
        assert not await say(scene.fake, written(scene.fake, "let me in"))
        assert [one.status for one in scene.fake.deliveries] == [403]

    play(address, tmp_path, steps)


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"[]", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"{}", "application/json", 200),
        (b'{"type": "event_callback"}', "application/json", 200),
        (b'{"type": "event_callback", "event": [], "authorizations": 5}', "application/json", 200),
        (b'{"type": "app_rate_limited"}', "application/json", 200),
        (b"payload=%7B%7D", "application/x-www-form-urlencoded", 415),
        (b" " * 210_000, "application/json", 413),
    ],
)
def test_what_is_no_event(
    address: DatabaseAddress, tmp_path: Path, body: bytes, content_type: str, status: int
) -> None:
    async def steps(scene: SlackScene) -> None:
        answer = await post(scene.fake, body, {"Content-Type": content_type})
        assert answer.status == status
        assert scene.rows("SELECT count(*) FROM inbox") == [(0,)]

    play(address, tmp_path, steps)


def test_a_body_that_is_not_text_is_refused(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: SlackScene) -> None:
        signed = {"X-Slack-Signature": "v0=" + "0" * 64, "X-Slack-Request-Timestamp": str(int(time.time()))}
        headers = {"Content-Type": "application/json", **signed}
        async with (
            aiohttp.ClientSession() as session,
            session.post(scene.fake.events_to, data=b"\xff", headers=headers) as response,
        ):
            assert response.status == 400

    play(address, tmp_path, steps)


def test_ten_messages_in_a_burst_are_told_in_order(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: SlackScene) -> None:
        for number in range(10):
            assert await say(scene.fake, written(scene.fake, f"message {number}"))
        await scene.until(TAKEN.format(10))
        assert said(scene.model.prompts[-1]) == [f"message {number}" for number in range(10)]
        await scene.until("SELECT 1 WHERE NOT EXISTS (SELECT FROM outbox WHERE state <> 'sent')")
        replied = [int(one.text.rpartition(" ")[2]) for one in scene.fake.messages]
        assert replied == sorted(replied)
        assert replied[-1] == 9

    play(address, tmp_path, steps)


LONG = "# A report\n\n" + "\n\n".join(
    f"Paragraph **{n}** has `code` & <tags> 🎉. " + "Words. " * 100 for n in range(60)
)


def test_a_long_reply_is_cut_into_messages_that_slack_takes(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: SlackScene) -> None:
        await say(scene.fake, written(scene.fake, "report"))
        await scene.until("SELECT 1 FROM outbox WHERE state = 'sent'")
        texts = [message.text for message in scene.fake.messages]
        assert len(texts) == 5
        assert all(len(text) <= MARKDOWN_LIMIT for text in texts)
        assert all(text.startswith(("# A report", "Paragraph")) for text in texts), "cut between paragraphs"
        assert "\n\n".join(texts).split() == LONG.split()

    play(address, tmp_path, steps, lambda _: words(LONG))


def test_what_slack_cannot_lay_out_is_sent_as_it_is(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: SlackScene) -> None:
        behave(scene.fake, Behaviour.NO_LAYOUT)
        assert (await send(scene, "| a **bold** <b> table |")).delivery is Delivery.SENT
        (message,) = scene.fake.messages
        assert (message.text, message.formatted) == ("| a **bold** &lt;b&gt; table |", False)

    play(address, tmp_path, steps)


def test_nobody_is_called_but_who_is_named(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: SlackScene) -> None:
        await send(scene, "<!channel> <!here|here> <!subteam^S1|@team> <@U0BEN> hello")
        assert scene.fake.messages[0].text == "@channel @here @team <@U0BEN> hello"

    play(address, tmp_path, steps)


@pytest.mark.parametrize(
    ("behaviour", "delivery", "trouble", "detail"),
    [
        (Behaviour.SLOW_DOWN, Delivery.FAILED, Trouble.BUSY, "slow down"),
        (Behaviour.FAIL, Delivery.UNKNOWN, Trouble.REFUSED, "failed while"),
        (Behaviour.FAIL_TAKEN, Delivery.UNKNOWN, Trouble.REFUSED, "failed while"),
        (Behaviour.FATAL_TAKEN, Delivery.UNKNOWN, Trouble.REFUSED, "failed while"),
        (Behaviour.DROP, Delivery.UNKNOWN, Trouble.REFUSED, ""),
        (Behaviour.BABBLE, Delivery.UNKNOWN, Trouble.REFUSED, "not understood"),
    ],
)
def test_what_is_known_of_a_message_that_went_wrong(
    address: DatabaseAddress, tmp_path: Path, behaviour: Behaviour, delivery: Delivery, trouble: Trouble, detail: str
) -> None:
    async def steps(scene: SlackScene) -> None:
        behave(scene.fake, behaviour)
        result = await send(scene)
        assert (result.delivery, result.trouble) == (delivery, trouble)
        assert detail in result.detail
        assert "private" not in result.detail
        assert "D0ANN" not in result.detail
        assert result.retry_after_s == (1.0 if behaviour is Behaviour.SLOW_DOWN else None)
        assert scene.fake.calls == ["chat.postMessage"], "nothing is sent twice below the outbox"

    play(address, tmp_path, steps)


@pytest.mark.parametrize(
    ("code", "trouble", "detail"),
    [
        ("channel_not_found", Trouble.REFUSED, "no such place"),
        ("not_in_channel", Trouble.REFUSED, "not in the channel"),
        ("is_archived", Trouble.REFUSED, "archived"),
        ("msg_too_long", Trouble.REFUSED, "too long"),
        ("account_inactive", Trouble.ACCOUNT, "not active"),
        ("invalid_auth", Trouble.ACCOUNT, "token"),
        ("token_revoked", Trouble.ACCOUNT, "revoked"),
        ("missing_scope", Trouble.ACCOUNT, "scope"),
        ("ratelimited", Trouble.BUSY, "slow down"),
        ("something_new", Trouble.REFUSED, "something_new"),
    ],
)
def test_slacks_errors_by_their_meaning(
    address: DatabaseAddress, tmp_path: Path, code: str, trouble: Trouble, detail: str
) -> None:
    async def steps(scene: SlackScene) -> None:
        scene.fake.errors[ROOM] = code
        result = await send(scene, place=ROOM)
        assert (result.delivery, result.trouble) == (Delivery.FAILED, trouble)
        assert detail in result.detail

    play(address, tmp_path, steps)


def test_a_token_that_is_not_the_bots_is_the_operators_to_mend(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: SlackScene) -> None:
        scene.fake.token = "xoxb-other"
        result = await send(scene)
        assert (result.delivery, result.trouble) == (Delivery.FAILED, Trouble.ACCOUNT)

    play(address, tmp_path, steps)


def test_slacks_pace_is_kept(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: SlackScene) -> None:
        behave(scene.fake, Behaviour.SLOW_DOWN)
        began_s = time.monotonic()
        await say(scene.fake, written(scene.fake, "hello"))
        assert await until(scene.fake, 1) == ["You said: hello"]
        assert time.monotonic() - began_s >= scene.fake.retry_after_s
        assert scene.fake.calls.count("chat.postMessage") == 2

    play(address, tmp_path, steps)


def test_a_reply_waits_for_a_slack_that_is_down(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with fake_slack(token=TOKEN, signing_secret=SIGNING_SECRET) as gone:
            port = int(gone.base_url.rpartition(":")[2])
        async with scene_with(gone, address, tmp_path) as scene:
            await say(gone, written(gone, "are you there?"))
            await scene.until("SELECT 1 FROM outbox WHERE attempts >= 1 AND detail <> ''")
            async with fake_slack(token=TOKEN, signing_secret=SIGNING_SECRET, port=port) as back:
                assert await until(back, 1) == ["You said: are you there?"]
                await scene.until("SELECT 1 FROM outbox WHERE state = 'sent'")
                assert len(back.messages) == 1

    run(scenario)


def test_what_slack_took_without_saying_so_is_found_and_not_sent_again(
    address: DatabaseAddress, tmp_path: Path
) -> None:
    async def steps(scene: SlackScene) -> None:
        behave(scene.fake, Behaviour.DROP)
        await say(scene.fake, written(scene.fake, "hello"))
        await say(scene.fake, written(scene.fake, f"<@{BOT}> hello", place=ROOM, thread_ts="1789999999.000100"))
        await scene.until("SELECT 1 FROM outbox WHERE state = 'sent' HAVING count(*) = 2")
        assert len(scene.fake.messages) == 2

    play(address, tmp_path, steps)


@pytest.mark.parametrize("thread", ["", "1789999999.000100"])
def test_slack_is_asked_what_it_was_given(address: DatabaseAddress, tmp_path: Path, thread: str) -> None:
    async def steps(scene: SlackScene) -> None:
        since = datetime.now(UTC)
        behave(scene.fake, Behaviour.DROP)
        for part in range(2):
            await scene.channel.send(outbound("OK", thread=thread, part=part))
        first, second = scene.fake.messages

        async def look(part: int, *known: str) -> object:
            return await scene.channel.find(outbound("OK", thread=thread, part=part), since=since, known=known)

        assert await look(0) == Seen(provider_id=first.ts, delivery=Delivery.SENT)
        assert await look(1) == Seen(provider_id=second.ts, delivery=Delivery.SENT)
        assert await look(1, second.ts) == NotSeen()
        assert await look(2) == NotSeen()
        method = "conversations.replies" if thread else "conversations.history"
        for behaviour in (Behaviour.SLOW_DOWN, Behaviour.FAIL, Behaviour.BABBLE):
            behave(scene.fake, behaviour, method=method)
            assert isinstance(await look(0), NotTold)

    play(address, tmp_path, steps)


def test_a_list_of_many_pages_is_read_and_one_without_end_leaves_it_open(
    address: DatabaseAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subclaw.channels.slack.channel._PAGE", 2)

    async def steps(scene: SlackScene) -> None:
        since = datetime.now(UTC)
        for part in range(7):
            await scene.channel.send(outbound("OK", part=part))
        assert isinstance(await scene.channel.find(outbound("OK"), since=since, known=()), Seen)
        assert await scene.channel.find(outbound("OK", part=9), since=since, known=()) == NotSeen()
        for part in range(10, 20):
            await scene.channel.send(outbound("OK", part=part))
        assert isinstance(await scene.channel.find(outbound("OK"), since=since, known=()), NotTold)

    play(address, tmp_path, steps)


def test_when_messages_cannot_be_stored_slack_brings_them_again(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: SlackScene) -> None:
        scene.fake.again_s = (0.0, 0.01, 0.5)
        scene.rows("ALTER TABLE inbox ADD CONSTRAINT full_up CHECK (false) NOT VALID")
        saying = asyncio.create_task(say(scene.fake, written(scene.fake, "hello")))
        async with asyncio.timeout(30):
            while len(scene.fake.deliveries) < 3:
                await asyncio.sleep(0.01)
        scene.rows("ALTER TABLE inbox DROP CONSTRAINT full_up")
        assert await saying
        assert await until(scene.fake, 1) == ["You said: hello"]
        assert [one.retry for one in scene.fake.deliveries] == [0, 1, 2, 3]
        assert min(one.status for one in scene.fake.deliveries[:3]) >= 500

    play(address, tmp_path, steps)


def test_in_a_channel_it_answers_when_addressed_where_it_was_addressed(
    address: DatabaseAddress, tmp_path: Path
) -> None:
    async def steps(scene: SlackScene) -> None:
        fake, thread = scene.fake, "1789999999.000100"
        await say(fake, written(fake, "just between us", place=ROOM))
        await say(fake, written(fake, "<@U0BEN> hello", place=ROOM))
        await say(fake, written(fake, f"<@{BOT}>: what is new?", place=ROOM))
        assert (await until(fake, 1))[0].endswith("what is new?")
        await say(fake, written(fake, "and you?", place=ROOM, thread_ts=thread, parent_user_id=BOT, user="U0BEN"))
        assert (await until(fake, 2))[1].endswith("and you?")
        await say(fake, written(fake, "hello from me"))
        assert (await until(fake, 3))[2] == "You said: hello from me"
        assert [(one.place, one.thread) for one in fake.messages] == [(ROOM, ""), (ROOM, thread), ("D0ANN", "")]
        assert scene.rows("SELECT count(*) FROM inbox") == [(3,)]
        places = scene.rows("SELECT address, tenant_id FROM identity ORDER BY address")
        assert [place for place, _ in places] == [ROOM, "D0ANN"]
        assert len({tenant for _, tenant in places}) == 2

    play(address, tmp_path, steps)


def test_typing_is_shown_in_a_thread_while_a_turn_runs(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: SlackScene) -> None:
        thinking, thread = asyncio.Event(), "1789999999.000100"
        ask = scene.model.ask

        async def slowly(prompt: Prompt) -> ModelReply:
            await thinking.wait()
            return await ask(prompt)

        scene.model.ask = slowly  # type: ignore[method-assign]
        await say(scene.fake, written(scene.fake, "think", thread_ts=thread))
        async with scene.fake.news:
            await scene.fake.news.wait_for(lambda: bool(scene.fake.statuses))
        assert scene.fake.statuses[0] == ("D0ANN", thread, "is at work…")
        thinking.set()
        assert await until(scene.fake, 1) == ["You said: think"]
        assert scene.fake.messages[0].thread == thread

    play(address, tmp_path, steps)


def test_typing_that_slack_does_not_show_is_nobodys_trouble(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: SlackScene) -> None:
        scene.fake.token = "xoxb-other"
        await scene.channel.typing(replace(outbound("").to, thread="1789999999.000100"))
        await scene.channel.typing(outbound("").to)
        assert scene.fake.calls == ["assistant.threads.setStatus"]

    play(address, tmp_path, steps)


def test_files_are_fetched_within_bounds(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: SlackScene) -> None:
        channel: Fetches = scene.channel
        path = "/files-pri/T0HOME-F0PIC/download/r%C3%A9sum%C3%A9.pdf"
        scene.fake.files["/files-pri/T0HOME-F0PIC/download/résumé.pdf"] = b"\x00\xff%PDF"
        assert await channel.fetch(path, 1_000) == b"\x00\xff%PDF"
        with pytest.raises(Invalid):
            await channel.fetch(path, 5)
        with pytest.raises(NotFound):
            await channel.fetch("/files-pri/T0HOME-F0GONE/download/a.pdf", 1_000)
        scene.fake.token = "xoxb-other"
        with pytest.raises(Unavailable):
            await channel.fetch(path, 1_000)

    play(address, tmp_path, steps)


def test_the_doctor_makes_a_real_call(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: SlackScene) -> None:
        given = {name: value for name, value in environ(scene.fake).items() if name not in SECRETS}
        check = next(one.check for one in read_channels(given) if one.kind.name == "slack")
        assert check is not None
        assert await check(scene.outside) == "@agents is in the workspace Home"
        scene.fake.scopes = "chat:write,im:history,mpim:history,channels:history,groups:history,app_mentions:read"
        lacking = "it lacks the scopes files:read, files:write"
        assert await check(scene.outside) == f"@agents is in the workspace Home; {lacking}"
        scene.fake.team = "T0OTHER"
        with pytest.raises(Unavailable, match="SLACK_TEAM_ID"):
            await check(scene.outside)
        scene.fake.token = "xoxb-other"
        with pytest.raises(Unavailable) as refusal:
            await check(scene.outside)
        assert "does not accept" in refusal.value.public

    play(address, tmp_path, steps)
