"""Discord in both directions, by its library and through the gateway, against a Discord on loopback."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from discord import Client
from tests.real.channel_scene import Answer, Scene, channel_scene, echo, said

from subclaw.channels.discord import connection, listening
from subclaw.channels.discord.listening import listen
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
    Trouble,
)
from subclaw.core.errors import Invalid, NotFound, Unavailable
from subclaw.core.model import ModelReply, Prompt
from subclaw.core.secret import PLACEHOLDER
from subclaw.core.tenant import TenantId
from subclaw.store.database import DatabaseAddress
from subclaw.testing.channels.discord import (
    Behaviour,
    FakeDiscord,
    ask_to_reconnect,
    fake_discord,
    hang_up,
    public,
    say,
    until,
    until_connected,
    written,
)
from subclaw.testing.channels.discord import gateway as fake_gateway
from subclaw.testing.egress import run
from subclaw.testing.models import words

TOKEN = "MTIzNDU2Nzg5MDEyMzQ1Njc4.Gcanary.0123456789abcdefghijklmnopqrstuvwxyz01"
APPLICATION = "900000000000000002"
ANN, PLACE, THREAD = 1001, 2001, 2002

Steps = Callable[[Scene, FakeDiscord], Awaitable[None]]


def environ(fake: FakeDiscord) -> dict[str, str]:
    return {
        "DISCORD_APPLICATION_ID": APPLICATION,
        "DISCORD_BOT_TOKEN": TOKEN,
        "DISCORD_BASE_URL": fake.base_url,
        "DISCORD_GATEWAY_URL": fake.gateway_url,
        "DISCORD_FILES_URL": fake.files_url,
    }


@asynccontextmanager
async def discord(
    address: DatabaseAddress, folder: Path, answer: Answer = echo
) -> AsyncIterator[tuple[Scene, FakeDiscord]]:
    async with fake_discord(token=TOKEN) as fake:
        public(fake, PLACE)
        public(fake, THREAD, parent_id=PLACE)
        async with channel_scene(address, folder, environ(fake), answer) as scene:
            async with asyncio.timeout(30):
                await until_connected(fake)
            yield scene, fake


def play(address: DatabaseAddress, folder: Path, steps: Steps, answer: Answer = echo) -> None:
    async def scenario() -> None:
        async with discord(address, folder, answer) as (scene, fake):
            await steps(scene, fake)

    run(scenario)


def to_person(text: str, *, reply_id: int = 999) -> OutboundMessage:
    to = Address(channel="discord", address=str(ANN))
    return OutboundMessage(tenant_id=TenantId(1), reply_id=reply_id, part=0, to=to, text=text)


async def text_out(scene: Scene, text: str) -> SendResult:
    return await scene.channels["discord"].send(to_person(text))


async def until_settled(scene: Scene, count: int) -> None:
    """Wait until so many messages are in a transcript, and nothing runs."""
    done = "SELECT 1 FROM conversation WHERE drained_seq = %s AND NOT turn_open AND owner IS NULL"
    await scene.until(done, count)


def test_a_strangers_first_message_is_answered(
    address: DatabaseAddress, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def steps(scene: Scene, fake: FakeDiscord) -> None:
        (identified,) = fake.identified
        assert identified["token"] == TOKEN
        assert identified["compress"] is False
        assert identified["intents"] == 1 << 0 | 1 << 9 | 1 << 12
        await say(fake, written(fake, "Build me an invoice generator & more 🎉 שלום"))
        assert await until(fake, 1) == ["You said: Build me an invoice generator & more 🎉 שלום"]
        (sent,) = fake.sent
        assert sent["channel_id"] == str(ANN)
        assert sent["allowed_mentions"] == {"parse": []}
        assert sent["flags"] & 4
        assert scene.rows("SELECT channel, address FROM identity") == [("discord", str(ANN))]
        assert await scene.until("SELECT provider_id FROM outbox_part WHERE state = 'sent'") == [(sent["id"],)]

    play(address, tmp_path, steps)
    assert TOKEN not in caplog.text
    assert TOKEN.partition(".")[0] not in caplog.text


def test_the_worker_has_a_placeholder_for_the_token(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeDiscord) -> None:
        await say(fake, written(fake, "hello"))
        await until(fake, 1)
        loop = asyncio.get_running_loop()  # clients of other tests may not have been collected
        clients = [one for one in gc.get_objects() if isinstance(one, Client) and one.http.token and one.loop is loop]
        assert [client.http.token for client in clients] == [PLACEHOLDER] * 2  # one sends, and one listens
        assert [client.ws.token for client in clients if client.ws] == [PLACEHOLDER]
        assert [identified["token"] for identified in fake.identified] == [TOKEN]

    play(address, tmp_path, steps)


def test_what_is_delivered_again_is_stored_once(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeDiscord) -> None:
        once = written(fake, "once")
        for _ in range(4):
            await say(fake, once)
        await say(fake, written(fake, "and then"))
        await until_settled(scene, 2)
        assert scene.rows("SELECT count(*) FROM inbox") == [(2,)]
        await scene.until("SELECT 1 FROM outbox HAVING bool_and(state = 'sent')")
        assert (await until(fake, 1))[-1] == "You said: and then"

    play(address, tmp_path, steps)


def test_ten_messages_at_once_are_told_in_order(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeDiscord) -> None:
        for number in range(10):
            await say(fake, written(fake, f"message {number}"))
        await until_settled(scene, 10)
        assert said(scene.model.prompts[-1]) == [f"message {number}" for number in range(10)]
        replied = [int(one["content"].rpartition(" ")[2]) for one in fake.sent]
        assert replied == sorted(replied)

    play(address, tmp_path, steps)


LONG = "# A report\n\n" + "\n\n".join(
    f"Paragraph **{number}** has words, `code` & <tags>.\n\n```python\n" + "print('🎉')\n" * 40 + "```"
    for number in range(20)
)


def test_a_long_reply_is_cut_into_messages_and_paced(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeDiscord) -> None:
        await say(fake, written(fake, "report"))
        await scene.until("SELECT 1 FROM outbox WHERE state = 'sent'")
        texts = [message["content"] for message in fake.sent]
        assert len(texts) > fake.pace
        assert fake.refused_for_pace == 0  # discord.py keeps what Discord says of its pace
        assert all(text.count("```") % 2 == 0 for text in texts)
        assert "".join(texts).count("print('🎉')") == 20 * 40
        assert all(f"Paragraph **{number}** has words, `code` & <tags>." in "".join(texts) for number in range(20))

    play(address, tmp_path, steps, lambda _: words(LONG))


@pytest.mark.parametrize(
    ("behaviour", "delivery", "trouble", "detail"),
    [
        (Behaviour.SLOW_DOWN, Delivery.FAILED, Trouble.BUSY, "slow down"),
        (Behaviour.NO_PRIVATE, Delivery.FAILED, Trouble.REFUSED, "takes no messages of the bot's"),
        (Behaviour.NO_ACCESS, Delivery.FAILED, Trouble.REFUSED, "no access"),
        (Behaviour.NO_PERMISSION, Delivery.FAILED, Trouble.REFUSED, "may not write"),
        (Behaviour.NO_CHANNEL, Delivery.FAILED, Trouble.REFUSED, "no such channel"),
        (Behaviour.FAIL, Delivery.UNKNOWN, Trouble.REFUSED, "failed while"),
        (Behaviour.FAIL_TAKEN, Delivery.UNKNOWN, Trouble.REFUSED, "failed while"),
        (Behaviour.DROP, Delivery.UNKNOWN, Trouble.REFUSED, "failed while"),
        (Behaviour.BABBLE, Delivery.UNKNOWN, Trouble.REFUSED, "not understood"),
    ],
)
def test_what_is_known_of_a_message_that_went_wrong(
    address: DatabaseAddress, tmp_path: Path, behaviour: Behaviour, delivery: Delivery, trouble: Trouble, detail: str
) -> None:
    async def steps(scene: Scene, fake: FakeDiscord) -> None:
        fake.behaviours.append(behaviour)
        result = await text_out(scene, "private words")
        assert (result.delivery, result.trouble) == (delivery, trouble)
        assert detail in result.detail
        assert "private words" not in result.detail
        assert str(ANN) not in result.detail
        assert result.retry_after_s == (fake.retry_after_s if behaviour is Behaviour.SLOW_DOWN else None)
        assert sum("POST" in request for request in fake.requests) == 1  # discord.py does not try again by itself

    play(address, tmp_path, steps)


def test_a_message_that_is_sent_again_is_not_doubled(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeDiscord) -> None:
        fake.behaviours.append(Behaviour.FAIL_TAKEN)
        assert (await text_out(scene, "hello")).delivery is Delivery.UNKNOWN
        again = await text_out(scene, "hello")
        assert again.delivery is Delivery.SENT
        assert [message["id"] for message in fake.sent] == [again.provider_id]

    play(address, tmp_path, steps)


@pytest.mark.parametrize("behaviour", [Behaviour.FAIL, Behaviour.FAIL_TAKEN, Behaviour.DROP, Behaviour.BABBLE])
def test_a_lost_answer_is_found_out(address: DatabaseAddress, tmp_path: Path, behaviour: Behaviour) -> None:
    async def steps(scene: Scene, fake: FakeDiscord) -> None:
        fake.behaviours.append(behaviour)
        await say(fake, written(fake, "hello"))
        await scene.until("SELECT 1 FROM outbox WHERE state = 'sent'")
        assert await until(fake, 1) == ["You said: hello"]

    play(address, tmp_path, steps)


def test_discord_is_asked_what_it_was_given(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeDiscord) -> None:
        channel = scene.channels["discord"]
        assert isinstance(channel, Reconciles)
        since = datetime.now(UTC)
        written(fake, "twice")
        first = await channel.send(to_person("twice", reply_id=1))
        second = await channel.send(to_person("twice", reply_id=2))
        assert first.provider_id
        assert second.provider_id
        sighting = await channel.find(to_person("twice"), since=since, known={first.provider_id})
        assert sighting == Seen(provider_id=second.provider_id, delivery=Delivery.SENT)
        assert await channel.find(to_person("never"), since=since, known=()) == NotSeen()
        for _ in range(100):
            written(fake, "much")
        assert isinstance(await channel.find(to_person("never"), since=since, known=()), NotTold)
        fake.token = "another"
        assert isinstance(await channel.find(to_person("twice"), since=since, known=()), NotTold)

    play(address, tmp_path, steps)


def test_a_token_that_is_not_the_bots_is_the_operators_to_mend(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeDiscord) -> None:
        fake.token = "another"
        result = await text_out(scene, "hello")
        assert (result.delivery, result.trouble) == (Delivery.FAILED, Trouble.ACCOUNT)
        fake.token = TOKEN
        assert (await text_out(scene, "hello")).delivery is Delivery.SENT
        fake.token = "another"
        result = await text_out(scene, "hello again")
        assert (result.delivery, result.trouble) == (Delivery.FAILED, Trouble.ACCOUNT)

    play(address, tmp_path, steps)


def test_discords_pace_is_kept(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeDiscord) -> None:
        fake.behaviours += [Behaviour.SLOW_DOWN]
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await say(fake, written(fake, "hello"))
        assert await until(fake, 1) == ["You said: hello"]
        assert loop.time() - began_s >= fake.retry_after_s
        assert fake.refused_for_pace == 1

    play(address, tmp_path, steps)


def test_a_reply_waits_for_a_discord_that_is_down_and_the_session_goes_on(
    address: DatabaseAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PAUSES_S", (0.0, 0.1))

    async def scenario() -> None:
        async with AsyncExitStack() as up:
            fake = await up.enter_async_context(fake_discord(token=TOKEN))
            port = int(fake.files_url.rpartition(":")[2])
            async with channel_scene(address, tmp_path, environ(fake)) as scene:
                await until_connected(fake)
                assert (await text_out(scene, "hello")).delivery is Delivery.SENT
                fake.behaviours.append(Behaviour.SLOW_DOWN)
                await say(fake, written(fake, "are you there?"))
                await scene.until("SELECT 1 FROM outbox")
                await up.aclose()
                await say(fake, written(fake, "and now?"))
                assert (await text_out(scene, "hello")).trouble is Trouble.NETWORK
                await scene.until("SELECT 1 FROM outbox WHERE state = 'queued' AND detail = 'no connection to Discord'")
                async with fake_discord(again=fake, port=port):
                    assert (await until(fake, 3))[1:] == ["You said: are you there?", "You said: and now?"]
                    await scene.until("SELECT 1 FROM outbox HAVING bool_and(state = 'sent') AND count(*) = 2")
                assert len(fake.identified) == 1
                assert {one["token"] for one in fake.resumed} == {TOKEN}

    run(scenario)


@pytest.mark.parametrize("how", ["asked to", "cut", 4000, 4009])
def test_a_connection_that_ends_is_made_anew_and_misses_nothing(
    address: DatabaseAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str | int
) -> None:
    monkeypatch.setattr(connection, "PAUSES_S", (0.0, 0.1))

    async def steps(scene: Scene, fake: FakeDiscord) -> None:
        await say(fake, written(fake, "one"))
        await scene.until("SELECT 1 FROM inbox")
        if how == "asked to":
            await ask_to_reconnect(fake)
        else:
            await (hang_up(fake, how) if isinstance(how, int) else hang_up(fake))
        await say(fake, written(fake, "two"))
        await until_settled(scene, 2)
        assert (len(fake.identified), len(fake.resumed)) == (1, 1)
        assert said(scene.model.prompts[-1]) == ["one", "two"]

    play(address, tmp_path, steps)


def test_where_a_session_is_lost_known_places_are_asked(
    address: DatabaseAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "IDENTIFY_PAUSE_S", 0.0)

    async def steps(scene: Scene, fake: FakeDiscord) -> None:
        name = f"<@{fake.bot_id}>"
        await say(fake, written(fake, "one"))
        await say(fake, written(fake, f"{name} hello", channel_id=PLACE))
        await scene.until("SELECT 1 FROM inbox HAVING count(*) = 2")
        await hang_up(fake, forget=True)
        for text in ("two", "three"):
            written(fake, text)
        written(fake, "among us", channel_id=PLACE)
        written(fake, f"{name} and you?", channel_id=PLACE)
        await until_connected(fake)
        await say(fake, written(fake, "four"))
        await scene.until("SELECT 1 FROM inbox HAVING count(*) = 6")
        heard = scene.rows(
            "SELECT c.address, i.text FROM inbox i JOIN conversation c ON c.id = i.conversation_id ORDER BY i.seq"
        )
        assert [text for place, text in heard if place == str(ANN)] == ["one", "two", "three", "four"]
        assert [text for place, text in heard if place == str(PLACE)] == ["hello", "and you?"]
        assert len(fake.identified) == 2

    play(address, tmp_path, steps)


def test_hearts_beat(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with fake_discord(token=TOKEN) as fake:
            fake.beat_ms = 50
            async with channel_scene(address, tmp_path, environ(fake)):
                async with asyncio.timeout(20):
                    while fake.beats < 4:
                        await asyncio.sleep(0.01)
            assert (len(fake.identified), len(fake.resumed)) == (1, 0)

    run(scenario)


def test_why_nobody_listens(address: DatabaseAddress, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with fake_discord(token=TOKEN) as fake, channel_scene(address, tmp_path, environ(fake)) as scene:
            await until_connected(fake)
            fake.token = "another"
            with pytest.raises(Unavailable, match="accept the bot's token"):
                await listen(scene.outside)
            fake.token, fake.sessions_left = TOKEN, connection.SESSIONS_KEPT
            with pytest.raises(Unavailable, match=r"no new session for 2\.0 hours"):
                await listen(scene.outside)
            fake.sessions_left, began = 900, len(fake.identified)
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(fake_gateway, "PRIVILEGED_INTENTS", 1)
                with pytest.raises(Unavailable, match="its intents"):
                    await listen(scene.outside)
            assert len(fake.identified) == began

    run(scenario)
    assert TOKEN not in caplog.text


def test_typing_is_shown_while_a_turn_runs(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario() -> None:
        thinking = asyncio.Event()
        async with discord(address, tmp_path) as (scene, fake):
            ask = scene.model.ask

            async def slowly(prompt: Prompt) -> ModelReply:
                await thinking.wait()
                return await ask(prompt)

            scene.model.ask = slowly  # type: ignore[method-assign]
            await say(fake, written(fake, "think"))
            async with fake.news:
                await fake.news.wait_for(lambda: bool(fake.typed))
            assert fake.typed == [ANN]
            thinking.set()
            assert await until(fake, 1) == ["You said: think"]

    run(scenario)


def test_in_a_server_it_answers_when_addressed_and_is_told_who_speaks(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeDiscord) -> None:
        name = f"<@{fake.bot_id}>"
        await say(fake, written(fake, "just between us", channel_id=PLACE))
        other = {"id": "55", "username": "cara", "discriminator": "0", "avatar": None, "global_name": "Cara"}
        bot = {"author": {**other, "bot": True}}
        await say(fake, written(fake, f"{name} from a machine", channel_id=PLACE, **bot))
        await say(fake, written(fake, f"{name} by a hook", channel_id=PLACE, webhook_id="66"))
        await say(fake, written(fake, f"{name} pinned", channel_id=PLACE, type=6))
        mentions = [other, {**other, "id": str(fake.bot_id), "username": "agents"}]
        await say(fake, written(fake, f"{name}, ask <@55> & <@77> 🎉", channel_id=PLACE, mentions=mentions))
        assert await until(fake, 1) == ["You said: [Ben Lee:] ask @Cara & <@77> 🎉"]
        answered = {"referenced_message": fake.said[PLACE][-1], "type": 19}
        answered["message_reference"] = {"message_id": fake.sent[0]["id"], "channel_id": str(PLACE)}
        await say(fake, written(fake, "and you?", channel_id=PLACE, **answered))
        assert (await until(fake, 2))[1] == "You said: [Ben Lee:] and you?"
        await say(fake, written(fake, f"{name} in a thread", channel_id=THREAD))
        assert (await until(fake, 3))[2] == "You said: [Ben Lee:] in a thread"
        assert [sent["channel_id"] for sent in fake.sent] == [str(PLACE), str(PLACE), str(THREAD)]
        await say(fake, written(fake, "hello from me"))
        assert (await until(fake, 4))[3] == "You said: hello from me"
        places = scene.rows("SELECT address, tenant_id FROM identity ORDER BY address")
        assert [place for place, _ in places] == [str(ANN), str(PLACE)]
        assert len({tenant for _, tenant in places}) == 2

    play(address, tmp_path, steps)


def test_discord_is_asked_where_a_thread_belongs_that_it_did_not_tell_of(
    address: DatabaseAddress, tmp_path: Path
) -> None:
    async def steps(scene: Scene, fake: FakeDiscord) -> None:
        public(fake, THREAD + 1, parent_id=PLACE)
        await say(fake, written(fake, f"<@{fake.bot_id}> hello", channel_id=THREAD + 1))
        await until(fake, 1)
        assert fake.sent[0]["channel_id"] == str(THREAD + 1)
        assert scene.rows("SELECT address FROM identity") == [(str(PLACE),)]

    play(address, tmp_path, steps)


def test_what_it_cannot_read_is_answered_in_words(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeDiscord) -> None:
        await say(fake, written(fake, ""))
        assert "can't read" in (await until(fake, 1))[0]
        await say(fake, written(fake, f"<@{fake.bot_id}>", channel_id=PLACE))
        assert "name me" in (await until(fake, 2))[1]
        await say(fake, written(fake, "\x00"))
        assert "empty" in (await until(fake, 3))[2]
        sticker = {"id": "5", "name": "Wumpus waves", "format_type": 1}
        await say(fake, written(fake, "", sticker_items=[sticker]))
        assert (await until(fake, 4))[3] == "You said: [A sticker: Wumpus waves]"
        await say(fake, written(fake, "", message_snapshots=[{"message": {**written(fake, "forwarded words")}}]))
        assert (await until(fake, 5))[4] == "You said: forwarded words"

    play(address, tmp_path, steps)


@pytest.mark.parametrize("error", ["disk_full", "check_violation"])
def test_a_message_that_cannot_be_stored_just_then_waits(
    address: DatabaseAddress, tmp_path: Path, caplog: pytest.LogCaptureFixture, error: str
) -> None:
    async def steps(scene: Scene, fake: FakeDiscord) -> None:
        refuse_to_store(scene, error)
        await say(fake, written(fake, "hello"))
        await say(fake, written(fake, "are you there?"))
        async with asyncio.timeout(20):
            while "be stored" not in caplog.text:
                await asyncio.sleep(0.01)
        assert scene.rows("SELECT count(*) FROM inbox") == [(0,)]
        scene.rows("DROP TRIGGER refusing ON inbox")
        await scene.until("SELECT 1 FROM inbox HAVING count(*) = 2")
        assert scene.rows("SELECT text FROM inbox ORDER BY seq") == [("hello",), ("are you there?",)]

    play(address, tmp_path, steps)


def test_a_message_that_can_never_be_stored_keeps_no_other_back(
    address: DatabaseAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "PAUSES_S", (0.0, 0.01))

    async def steps(scene: Scene, fake: FakeDiscord) -> None:
        refuse_to_store(scene, "check_violation", text="poison")
        await say(fake, written(fake, "poison"))
        await say(fake, written(fake, "hello"))
        assert await until(fake, 1) == ["You said: hello"]

    play(address, tmp_path, steps)


def refuse_to_store(scene: Scene, error: str, *, text: str = "") -> None:
    scene.rows(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = '{error}'; END $$"
    )
    when = f"FOR EACH ROW WHEN (NEW.text ~ '{text}')"
    scene.rows(f"CREATE TRIGGER refusing BEFORE INSERT ON inbox {when} EXECUTE FUNCTION refuse()")


def file_of(fake: FakeDiscord, name: str, content: bytes) -> dict[str, object]:
    """Return a file that comes with a message; the fake has it."""
    path = f"/attachments/{ANN}/{len(fake.files) + 1}/{name}"
    fake.files[path] = content
    about = {"id": "1", "filename": name, "size": len(content), "content_type": "text/plain", "proxy_url": "x"}
    return about | {"url": f"https://cdn.discordapp.com{path}?ex=1&is=2&hm=3"}


def test_files_are_fetched_within_bounds(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeDiscord) -> None:
        channel = scene.channels["discord"]
        assert isinstance(channel, Fetches)
        fake.files |= {"/attachments/1/2/small": b"\x00\xffGIF", "/attachments/1/2/large": b"x" * 1_001}
        assert await channel.fetch("/attachments/1/2/small?ex=1", 1_000) == b"\x00\xffGIF"
        with pytest.raises(Invalid):
            await channel.fetch("/attachments/1/2/large", 1_000)
        with pytest.raises(NotFound):
            await channel.fetch("/attachments/1/2/gone", 1_000)

    play(address, tmp_path, steps)


def test_files_are_put_into_the_machine_and_told_of(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeDiscord) -> None:
        picture, elsewhere = file_of(fake, "a.png", b"\xff\xd8\xff\xe0 a picture"), file_of(fake, "b.txt", b"words")
        elsewhere["url"] = "https://evil.example/b.txt"
        await say(fake, written(fake, "what is this?", attachments=[picture, elsewhere]))
        (told,) = await until(fake, 1)
        ((tenant, path),) = scene.files.written
        assert path.startswith("/home/agent/inbox/")
        assert told == f"You said: what is this?\n[A file came with this: {path} (image/jpeg, 14 bytes)]"
        assert scene.files.written[tenant, path] == b"\xff\xd8\xff\xe0 a picture"

    play(address, tmp_path, steps)


def test_the_doctor_makes_real_calls(address: DatabaseAddress, tmp_path: Path) -> None:
    async def steps(scene: Scene, fake: FakeDiscord) -> None:
        (set_up,) = [one for one in read_channels(environ(fake)) if one.kind.name == "discord"]
        assert set_up.check is not None
        assert await set_up.check(scene.outside) == "agents answers; of 1,000 new sessions a day 999 are left"
        fake.application_id += 1
        with pytest.raises(Unavailable) as caught:
            await set_up.check(scene.outside)
        assert "DISCORD_APPLICATION_ID says" in caught.value.public
        fake.token = "another"
        with pytest.raises(Unavailable) as caught:
            await set_up.check(scene.outside)
        assert caught.value.public == "Discord: Discord does not accept the bot's token."

    play(address, tmp_path, steps)
