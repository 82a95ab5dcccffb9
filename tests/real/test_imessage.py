"""iMessage in both directions, through the gateway, against a BlueBubbles server on loopback."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from tests.real.channel_scene import PUBLIC_URL, Answer, Scene, channel_scene, echo, said

from subclaw.channels.imessage.settings import WEBHOOK_PATH
from subclaw.channels.registry import read_channels
from subclaw.core.channel import (
    Address,
    Delivery,
    Fetches,
    NotSeen,
    NotTold,
    OutboundMessage,
    Reconciles,
    Seen,
    SendResult,
    ShowsTyping,
    Sighting,
    Trouble,
)
from subclaw.core.errors import Invalid, NotFound, Unavailable
from subclaw.core.tenant import TenantId
from subclaw.store.database import DatabaseAddress
from subclaw.testing.channels.bluebubbles import (
    Behaviour,
    FakeBlueBubbles,
    fake_bluebubbles,
    report,
    say,
    until,
    written,
)
from subclaw.testing.egress import run
from subclaw.testing.models import words

PASSWORD = "a canary & password"
ACCOUNT = "agent@example.com"
PERSON, OTHER, GROUP = "+16505551234", "ann@example.com", "chat831551415676550949"
QUIET = """
    SELECT 1 WHERE NOT EXISTS (SELECT FROM outbox WHERE state IN ('queued', 'sending'))
        AND NOT EXISTS (SELECT FROM conversation WHERE inbox_seq > drained_seq OR turn_open OR owner IS NOT NULL)
"""

Steps = Callable[[Scene, FakeBlueBubbles], Awaitable[None]]


def environment(base_url: str) -> dict[str, str]:
    return {
        "BLUEBUBBLES_URL": base_url,
        "BLUEBUBBLES_PASSWORD": PASSWORD,
        "IMESSAGE_ACCOUNT": ACCOUNT,
        "IMESSAGE_NAME": "Ada",
    }


@asynccontextmanager
async def imessage(
    address: DatabaseAddress, folder: Path, answer: Answer = echo, *, public_url: str | None = PUBLIC_URL
) -> AsyncIterator[tuple[Scene, FakeBlueBubbles]]:
    async with (
        fake_bluebubbles(password=PASSWORD) as fake,
        channel_scene(address, folder, environment(fake.base_url), answer, public_url=public_url) as scene,
    ):
        fake.webhooks_to = scene.url
        async with asyncio.timeout(40):
            while public_url and not fake.webhooks:
                await asyncio.sleep(0.01)
        yield scene, fake


def play(
    address: DatabaseAddress, folder: Path, steps: Steps, answer: Answer = echo, *, public_url: str | None = PUBLIC_URL
) -> None:
    async def scenario() -> None:
        async with imessage(address, folder, answer, public_url=public_url) as (scene, fake):
            await steps(scene, fake)
            await scene.until(QUIET)

    run(scenario)


def outbound(text: str) -> OutboundMessage:
    to = Address(channel="imessage", address=PERSON)
    return OutboundMessage(tenant_id=TenantId(1), reply_id=1, part=0, to=to, text=text)


async def text_out(scene: Scene, text: str) -> SendResult:
    return await scene.channels["imessage"].send(outbound(text))


def test_a_strangers_first_message_is_answered(
    address: DatabaseAddress, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def steps(scene: Scene, fake: FakeBlueBubbles) -> None:
        (url,) = fake.webhooks
        assert url.startswith(f"{PUBLIC_URL}{WEBHOOK_PATH}/")
        assert len(url.rpartition("/")[2]) == 64
        text = "Build me an invoice generator & more 🎉 שלום"
        assert await say(fake, text, person=PERSON) == [200]
        assert await until(fake, 1) == [f"You said: {text}"]
        assert fake.sent[0]["chats"] == [{"guid": f"iMessage;-;{PERSON}"}]
        assert fake.methods == ["apple-script"]
        assert scene.rows("SELECT channel, address FROM identity") == [("imessage", PERSON)]
        assert await scene.until("SELECT provider_id FROM outbox_part WHERE state = 'sent'") == [
            (fake.sent[0]["guid"],)
        ]

    play(address, tmp_path, steps)
    assert PASSWORD not in caplog.text
    assert "canary" not in caplog.text


def test_what_is_reported_again_is_stored_once(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeBlueBubbles) -> None:
        message = written(fake, "once", person=PERSON)
        for _ in range(3):
            assert await report(fake, message) == [200]
        assert await report(fake, message, event="updated-message") == [200]
        await say(fake, "and then", person=PERSON)
        assert sorted(await until(fake, 2)) == ["You said: and then", "You said: once"]
        assert scene.rows("SELECT count(*) FROM inbox") == [(2,)]

    play(address, tmp_path, steps)


@pytest.mark.parametrize("secret", ["", "forged", "f" * 64, "%C3%A4", "f" * 1_000])
def test_whoever_does_not_know_the_secret_is_refused(address: DatabaseAddress, tmp_path: Path, secret: str) -> None:
    async def steps(scene: Scene, fake: FakeBlueBubbles) -> None:
        message = written(fake, "let me in", person=PERSON, ago_s=86_400)
        url = f"{scene.url}{WEBHOOK_PATH}/{secret}"
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, json={"type": "new-message", "data": message}) as response,
        ):
            assert response.status == (403 if secret else 404)
        assert scene.rows("SELECT count(*) FROM tenant") == [(0,)]

    play(address, tmp_path, steps)


def test_what_the_mac_itself_sends_is_no_message(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeBlueBubbles) -> None:
        assert await report(fake, written(fake, "an echo", person=PERSON, isFromMe=True)) == [200]
        await say(fake, "hello", person=PERSON)
        await until(fake, 2)
        assert await report(fake, fake.sent[-1]) == [200]
        assert scene.rows("SELECT count(*) FROM inbox") == [(1,)]

    play(address, tmp_path, steps)


def test_ten_messages_at_once_are_told_in_order(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeBlueBubbles) -> None:
        for number in range(10):
            await say(fake, f"message {number}", person=PERSON)
        await scene.until("SELECT 1 FROM conversation WHERE drained_seq = 10 AND NOT turn_open AND owner IS NULL")
        assert said(scene.model.prompts[-1]) == [f"message {number}" for number in range(10)]
        replied = [int(one["text"].rpartition(" ")[2]) for one in fake.sent]
        assert replied == sorted(replied)

    play(address, tmp_path, steps)


def test_where_it_cannot_call_it_is_asked(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeBlueBubbles) -> None:
        written(fake, "of yesterday", person=OTHER, ago_s=86_400)
        for number in range(3):
            written(fake, f"message {number}", person=PERSON)
        await scene.until("SELECT 1 FROM conversation WHERE drained_seq = 3 AND NOT turn_open AND owner IS NULL")
        assert said(scene.model.prompts[-1]) == ["message 0", "message 1", "message 2"]
        assert scene.rows("SELECT address FROM identity") == [(PERSON,)]
        assert fake.webhooks == []

    play(address, tmp_path, steps, public_url=None)


def test_what_nobody_reported_is_fetched(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with fake_bluebubbles(password=PASSWORD) as fake:
            written(fake, "while nothing ran", person=PERSON, ago_s=60)
            async with channel_scene(address, tmp_path, environment(fake.base_url)) as scene:
                async with asyncio.timeout(30):
                    while len(fake.sent) < 1:
                        await asyncio.sleep(0.01)
                assert fake.sent[0]["text"] == "You said: while nothing ran"
                await scene.until(QUIET)

    run(scenario)


LONG = "# A report\n\n" + "\n\n".join(f"Paragraph **{number}** has words. " + "word " * 150 for number in range(20))


def test_a_long_reply_is_cut(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeBlueBubbles) -> None:
        await say(fake, "report", person=PERSON)
        await scene.until("SELECT 1 FROM outbox WHERE state = 'sent'")
        texts = [message["text"] for message in fake.sent]
        assert len(texts) >= 4
        assert all(len(text) <= 4_000 and "*" not in text for text in texts)
        assert all(f"Paragraph {number} has words." in "".join(texts) for number in range(20))

    play(address, tmp_path, steps, lambda _: words(LONG))


@pytest.mark.parametrize(
    ("behaviour", "delivery", "trouble", "detail"),
    [
        (Behaviour.NO_IMESSAGE, Delivery.FAILED, Trouble.REFUSED, "no iMessage at this address"),
        (Behaviour.SLOW_DOWN, Delivery.FAILED, Trouble.BUSY, "slow down"),
        (Behaviour.FAIL, Delivery.UNKNOWN, Trouble.REFUSED, "HTTP 500"),
        (Behaviour.FAIL_TAKEN, Delivery.UNKNOWN, Trouble.REFUSED, "HTTP 500"),
        (Behaviour.DROP, Delivery.UNKNOWN, Trouble.REFUSED, ""),
        (Behaviour.BABBLE, Delivery.UNKNOWN, Trouble.REFUSED, "not understood"),
    ],
)
def test_what_is_known_of_a_message_that_went_wrong(
    address: DatabaseAddress, tmp_path: Path, behaviour: Behaviour, delivery: Delivery, trouble: Trouble, detail: str
) -> None:
    async def steps(scene: Scene, fake: FakeBlueBubbles) -> None:
        fake.behaviours.append(behaviour)
        result = await text_out(scene, "a tenant's words")
        assert (result.delivery, result.trouble) == (delivery, trouble)
        assert detail in result.detail
        for private in (PERSON, "tenant's words", PASSWORD):
            assert private not in result.detail

    play(address, tmp_path, steps)


def test_one_that_is_being_sent_is_not_sent_again(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeBlueBubbles) -> None:
        fake.sending.add("subclaw-1-1-0")
        result = await text_out(scene, "hello")
        assert (result.delivery, result.detail) == (Delivery.UNKNOWN, "the Mac is still sending it")
        assert fake.sent == []

    play(address, tmp_path, steps)


def test_a_lost_answer_is_settled_by_asking_the_mac(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeBlueBubbles) -> None:
        fake.behaviours += [Behaviour.FAIL_TAKEN]
        await say(fake, "one", person=PERSON)
        assert await scene.until("SELECT provider_id FROM outbox_part WHERE state = 'sent'") == [
            (fake.sent[0]["guid"],)
        ]
        fake.behaviours += [Behaviour.FAIL]
        await say(fake, "two", person=PERSON)
        assert await until(fake, 2) == ["You said: one", "You said: two"]

    play(address, tmp_path, steps)


def test_what_the_mac_has_sent_is_found(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeBlueBubbles) -> None:
        channel = scene.channels["imessage"]
        assert isinstance(channel, Reconciles)

        async def look_for(text: str, *known: str, minutes: int = 0) -> Sighting:
            since = datetime.now(UTC) + timedelta(minutes=minutes)
            return await channel.find(outbound(text), since=since, known=known)

        assert await look_for("a **bold** word") == NotSeen()
        await text_out(scene, "a **bold** word")
        guid = fake.sent[0]["guid"]
        assert await look_for("a **bold** word") == Seen(provider_id=guid, delivery=Delivery.SENT)
        fake.sent[0]["dateDelivered"] = 1
        assert await look_for("a **bold** word") == Seen(provider_id=guid, delivery=Delivery.DELIVERED)
        fake.sent[0]["error"] = 22
        found = await look_for("a **bold** word")
        assert isinstance(found, Seen)
        assert (found.delivery, "no iMessage" in found.detail) == (Delivery.FAILED, True)
        assert await look_for("a **bold** word", guid) == NotSeen()
        assert await look_for("another") == NotSeen()
        assert await look_for("a **bold** word", minutes=10) == NotSeen()
        fake.password = "another"
        assert isinstance(await look_for("a **bold** word"), NotTold)

    play(address, tmp_path, steps)


def test_a_reply_waits_for_a_mac_that_is_down(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with fake_bluebubbles(password=PASSWORD) as first:
            port = int(first.base_url.rpartition(":")[2])
        async with channel_scene(address, tmp_path, environment(first.base_url)) as scene:
            assert (await text_out(scene, "hello")).trouble is Trouble.NETWORK
            async with fake_bluebubbles(password=PASSWORD, port=port) as again:
                async with asyncio.timeout(30):
                    while not again.webhooks:
                        await asyncio.sleep(0.01)
            again.webhooks_to = scene.url
            await say(again, "are you there?", person=PERSON)
            await scene.until("SELECT 1 FROM outbox WHERE state = 'queued' AND attempts >= 1 AND detail <> ''")
            async with fake_bluebubbles(password=PASSWORD, port=port) as back:
                assert await until(back, 1) == ["You said: are you there?"]
                await scene.until("SELECT 1 FROM outbox WHERE state = 'sent'")

    run(scenario)


def test_a_wrong_password_is_the_operators_to_mend(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeBlueBubbles) -> None:
        fake.password = "another"
        result = await text_out(scene, "hello")
        assert (result.delivery, result.trouble) == (Delivery.FAILED, Trouble.ACCOUNT)
        assert "password" in result.detail

    play(address, tmp_path, steps)


def test_typing_is_shown_where_the_mac_can(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeBlueBubbles) -> None:
        fake.has_helper = True
        channel = scene.channels["imessage"]
        assert isinstance(channel, ShowsTyping)
        await channel.typing(Address(channel="imessage", address=PERSON))
        assert fake.calls == [f"read iMessage;-;{PERSON}", f"typing iMessage;-;{PERSON}"]
        assert (await text_out(scene, "hello")).delivery is Delivery.SENT
        assert fake.methods == ["private-api"]

    async def without(scene: Scene, fake: FakeBlueBubbles) -> None:
        channel = scene.channels["imessage"]
        assert isinstance(channel, ShowsTyping)
        await channel.typing(Address(channel="imessage", address=PERSON))
        assert fake.calls == []
        assert (await text_out(scene, "hello")).delivery is Delivery.SENT

    play(address, tmp_path / "with", steps)
    play(address, tmp_path / "without", without)


def test_in_a_group_it_answers_when_it_is_called(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeBlueBubbles) -> None:
        await say(fake, "just between us", person=OTHER, chat=GROUP)
        await say(fake, "Ada, what is new?", person=OTHER, chat=GROUP)
        assert await until(fake, 1) == [f"You said: [{OTHER}:] Ada, what is new?"]
        assert fake.sent[0]["chats"] == [{"guid": f"iMessage;+;{GROUP}"}]
        await say(fake, "and in private", person=OTHER)
        assert (await until(fake, 2))[1] == "You said: and in private"
        assert scene.rows("SELECT count(*) FROM inbox") == [(2,)]
        places = scene.rows("SELECT address, tenant_id FROM identity ORDER BY address")
        assert [place for place, _ in places] == [OTHER, GROUP]
        assert len({tenant for _, tenant in places}) == 2

    play(address, tmp_path, steps)


def test_files_are_fetched_within_bounds(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeBlueBubbles) -> None:
        channel = scene.channels["imessage"]
        assert isinstance(channel, Fetches)
        fake.files |= {"at_0_small": b"\x00\xffGIF", "at_0_large": b"x" * 1_001}
        assert await channel.fetch("at_0_small", 1_000) == b"\x00\xffGIF"
        with pytest.raises(Invalid):
            await channel.fetch("at_0_large", 1_000)
        with pytest.raises(NotFound):
            await channel.fetch("at_0_gone", 1_000)
        fake.password = "another"
        with pytest.raises(Unavailable):
            await channel.fetch("at_0_small", 1_000)

    play(address, tmp_path, steps)


def test_what_is_refused_is_answered_in_words(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeBlueBubbles) -> None:
        await say(fake, "\x00", person=PERSON)
        assert "empty" in (await until(fake, 1))[0]

    play(address, tmp_path, steps)


def test_the_doctor_makes_a_real_call(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeBlueBubbles) -> None:
        (set_up,) = [one for one in read_channels(environment(fake.base_url)) if one.kind.name == "imessage"]
        assert set_up.check is not None
        assert (await set_up.check(scene.outside)).startswith("BlueBubbles 1.9.9 answers; its Private API is off")
        fake.password = "another"
        with pytest.raises(Unavailable) as caught:
            await set_up.check(scene.outside)
        assert "password" in caught.value.public

    play(address, tmp_path, steps)
