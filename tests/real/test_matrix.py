"""Matrix in both directions, by its library and through the gateway, against a real synapse on loopback."""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from nio import UploadResponse  # type: ignore[import-untyped]
from nio.crypto.attachments import encrypt_attachment  # type: ignore[import-untyped]
from tests.real.channel_scene import Answer, Scene, channel_scene, echo, said
from tests.real.matrix_people import Person, person
from tests.real.synapse import Account, Synapse, running_synapse

from subclaw.channels.matrix import invitations, sync, unread
from subclaw.channels.matrix.events import read_event
from subclaw.channels.registry import open_channels, read_channels
from subclaw.core.channel import (
    Address,
    Channel,
    Delivery,
    Fetches,
    NotSeen,
    NotTold,
    OutboundFile,
    OutboundMessage,
    Reconciles,
    Seen,
    SendResult,
    SendsFiles,
    ShowsTyping,
    Trouble,
)
from subclaw.core.errors import Invalid, NotFound, Unavailable
from subclaw.core.model import ModelReply, Prompt
from subclaw.core.tenant import TenantId
from subclaw.store.database import DatabaseAddress
from subclaw.testing.egress import run
from subclaw.testing.models import words

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Synapse]:
    with running_synapse(tmp_path_factory.mktemp("synapse")) as running:
        yield running


class Stage:
    """A server, an account for the agent that nobody has written to, and a folder for each time that subclaw runs."""

    def __init__(self, server: Synapse, address: DatabaseAddress, folder: Path) -> None:
        self.server = server
        self.address = address
        self.folder = folder
        self.number = next(_NUMBERS)
        self.agent: Account = server.register(f"agent{self.number}")
        self.runs = itertools.count(1)

    def environment(self, url: str = "", token: str = "") -> dict[str, str]:
        return {
            "MATRIX_HOMESERVER": url or self.server.url,
            "MATRIX_USER": self.agent.user,
            "MATRIX_ACCESS_TOKEN": token or self.agent.token,
        }

    def person(self, name: str, *, encrypts: bool = False) -> Any:
        return person(self.server, f"{name}{self.number}", encrypts=encrypts)

    @asynccontextmanager
    async def running(self, answer: Answer = echo, *, url: str = "", token: str = "") -> AsyncIterator[Scene]:
        folder = self.folder / str(next(self.runs))
        folder.mkdir()
        async with channel_scene(self.address, folder, self.environment(url, token), answer) as scene:
            yield scene

    def check(self, scene: Scene) -> Awaitable[str]:
        (set_up,) = [one for one in read_channels(self.environment()) if one.kind.name == "matrix"]
        assert set_up.check is not None
        return set_up.check(scene.outside)


@pytest.fixture
def stage(server: Synapse, address: DatabaseAddress, tmp_path: Path) -> Stage:
    return Stage(server, address, tmp_path)


def play(stage: Stage, steps: Callable[[Scene, Person], Awaitable[None]], answer: Answer = echo) -> None:
    """Have a person, Ada, while everything runs."""

    async def scenario() -> None:
        async with stage.person("ada") as ada, stage.running(answer) as scene:
            await steps(scene, ada)

    run(scenario)


def outbound(to: str, text: str, part: int = 0) -> OutboundMessage:
    address = Address(channel="matrix", address=to)
    return OutboundMessage(tenant_id=TenantId(1), reply_id=1, part=part, to=address, text=text)


async def text_out(channel: Channel, to: str, text: str, part: int = 0) -> SendResult:
    return await channel.send(outbound(to, text, part))


async def meet(stage: Stage, ada: Person, *, encrypted: bool = False) -> str:
    """Have Ada make a room of her own with the agent, and say hello; return the room."""
    room = await ada.room(stage.agent.user, encrypted=encrypted)
    await ada.until_joined(room, stage.agent.user)
    await ada.say(room, "hello")
    assert await ada.until(1) == ["You said: hello"]
    return room


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_strangers_first_message_is_answered(stage: Stage, caplog: pytest.LogCaptureFixture, encrypted: bool) -> None:
    caplog.set_level(logging.DEBUG)

    async def scenario() -> None:
        async with stage.person("ada", encrypts=encrypted) as ada, stage.running() as scene:
            room = await ada.room(stage.agent.user, encrypted=encrypted)
            if encrypted:
                await ada.until_joined(room, stage.agent.user)
            event_id = await ada.say(room, "Build me an invoice generator & more 🎉 שלום")
            assert await ada.until(1) == ["You said: Build me an invoice generator & more 🎉 שלום"]
            assert ada.heard[0]["sender"] == stage.agent.user
            assert scene.rows("SELECT channel, address FROM identity") == [("matrix", ada.user)]
            assert scene.rows("SELECT provider_id FROM inbox") == [(f"{room} {event_id}",)]
            sent = await scene.until("SELECT provider_id FROM outbox_part WHERE state = 'sent'")
            assert sent == [(ada.heard[0]["event_id"],)]

    run(scenario)
    for private in (stage.agent.token, "invoice generator"):
        assert private not in caplog.text


def test_what_is_told_again_is_stored_once(stage: Stage) -> None:
    async def scenario() -> None:
        async with stage.person("ada") as ada:
            async with stage.running() as scene:
                room = await meet(stage, ada)
                await ada.say(room, "once")
                await ada.until(2)
                before = await scene.until("SELECT convert_from(value, 'UTF8') FROM channel_entry WHERE name = 'since'")
            scene.rows("DELETE FROM channel_entry WHERE name = 'since'")
            async with stage.running() as again:
                await ada.say(room, "and then")
                assert (await ada.until(3))[2] == "You said: and then"
                assert again.rows("SELECT count(*) FROM inbox") == [(3,)]
                after = await again.until("SELECT convert_from(value, 'UTF8') FROM channel_entry WHERE name = 'since'")
            assert before != after
            await ada.hear()
            assert len(ada.heard) == 3

    run(scenario)


@pytest.mark.parametrize("encrypted", [False, True])
def test_what_was_written_while_nothing_ran_is_answered_in_order(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, encrypted: bool
) -> None:
    monkeypatch.setattr(sync, "TIMELINE_LIMIT", 3)
    monkeypatch.setitem(sync._FILTER["room"]["timeline"], "limit", 3)

    async def scenario() -> None:
        async with stage.person("ada", encrypts=encrypted) as ada:
            async with stage.running() as scene:
                room = await meet(stage, ada, encrypted=encrypted)
                await scene.until("SELECT 1 FROM channel_entry WHERE name = 'since'")
            texts = [f"number {n}" for n in range(8)]
            for text in texts:
                await ada.say(room, text)
            async with stage.running() as again:
                await again.until("SELECT 1 FROM inbox HAVING count(*) = 9")
                rows = again.rows("SELECT text FROM inbox ORDER BY seq")
                assert [text for (text,) in rows] == ["hello", *texts]
                await ada.until(2)

    run(scenario)


def test_a_token_that_is_none_is_the_operators_to_mend(stage: Stage) -> None:
    async def scenario() -> None:
        async with stage.person("ada") as ada, stage.running(token="syt_forged") as scene:
            room = await ada.room(stage.agent.user)
            await ada.say(room, "let me in")
            result = await text_out(scene.channels["matrix"], room, "hello")
            assert (result.delivery, result.trouble) == (Delivery.FAILED, Trouble.ACCOUNT)
            assert "token" in result.detail
            with pytest.raises(Unavailable) as caught:
                await stage.check(scene)
            assert "token" in caught.value.public
            assert scene.rows("SELECT count(*) FROM tenant") == [(0,)]

    run(scenario)


def test_a_long_reply_is_split_well_and_keeps_its_format(stage: Stage) -> None:
    paragraph = "A sentence with **bold** words and `code` stands here. " * 20
    reply = "\n\n".join([paragraph.strip()] * 12)

    async def steps(scene: Scene, ada: Person) -> None:
        await ada.say(await ada.room(stage.agent.user), "tell me everything")
        texts = await ada.until(4)
        assert all(len(text) <= 4_000 for text in texts)
        assert all(text.endswith("stands here.") for text in texts)
        assert "\n\n".join(texts) == reply.replace("**", "").replace("`", "")
        for event in ada.heard:
            assert event["content"]["format"] == "org.matrix.custom.html"
            assert "<strong>bold</strong>" in event["content"]["formatted_body"]

    play(stage, steps, lambda _: words(reply))


@pytest.mark.parametrize("encrypted", [False, True])
def test_ten_messages_at_once_are_taken_in_order(stage: Stage, encrypted: bool) -> None:
    texts = [f"number {n}" for n in range(10)]

    def all_of_them(prompt: Prompt) -> ModelReply:
        return words("|".join(said(prompt)))

    async def scenario() -> None:
        async with stage.person("ada", encrypts=encrypted) as ada, stage.running(all_of_them) as scene:
            room = await ada.room(stage.agent.user, encrypted=encrypted)
            await ada.until_joined(room, stage.agent.user)
            for text in texts:
                await ada.say(room, text)
            async with asyncio.timeout(40):
                while not ada.texts or ada.texts[-1] != "|".join(texts):
                    await ada.hear(500)
            rows = scene.rows("SELECT text FROM inbox ORDER BY seq")
            assert [text for (text,) in rows] == texts

    run(scenario)


def test_a_reply_waits_for_a_homeserver_that_is_down(stage: Stage) -> None:
    def stopping(prompt: Prompt) -> ModelReply:
        if said(prompt)[-1] == "go away":
            stage.server.stop()
        return echo(prompt)

    async def steps(scene: Scene, ada: Person) -> None:
        room = await meet(stage, ada)
        try:
            await ada.say(room, "go away")
            await scene.until("SELECT 1 FROM outbox WHERE state = 'queued' AND attempts >= 1 AND detail <> ''")
            result = await text_out(scene.channels["matrix"], room, "hello")
            assert (result.delivery, result.trouble) == (Delivery.FAILED, Trouble.NETWORK)
        finally:
            stage.server.start()
        assert (await ada.until(2))[1] == "You said: go away"
        await ada.say(room, "are you there?")
        assert (await ada.until(3))[2] == "You said: are you there?"

    play(stage, steps, stopping)


def test_limits_of_the_homeserver_are_obeyed(
    tmp_path_factory: pytest.TempPathFactory, address: DatabaseAddress, tmp_path: Path
) -> None:
    limits = {"rc_message": {"per_second": 0.5, "burst_count": 3}}
    with running_synapse(tmp_path_factory.mktemp("limited"), limits) as limited:
        stage = Stage(limited, address, tmp_path)

        async def steps(scene: Scene, ada: Person) -> None:
            room = await meet(stage, ada)
            results = [await text_out(scene.channels["matrix"], room, f"number {n}", n) for n in range(5)]
            late = [result for result in results if result.delivery is Delivery.FAILED]
            assert late
            assert {result.trouble for result in late} == {Trouble.BUSY}
            assert all(result.retry_after_s and 0 < result.retry_after_s < 30 for result in late)
            await ada.say(room, "and now?")
            sent = len(results) - len(late)
            assert (await ada.until(2 + sent))[-1] == "You said: and now?"

        play(stage, steps)


@asynccontextmanager
async def losing(url: str, lost: list[str]) -> AsyncIterator[str]:
    """Stand before a homeserver, and close connections after what is in `lost` was done, without a word."""

    async def passed_on(request: web.Request) -> web.StreamResponse:
        body, headers = await request.read(), {"Authorization": request.headers.get("Authorization", "")}
        async with aiohttp.ClientSession() as session:
            target = url + request.raw_path
            async with session.request(request.method, target, data=body, headers=headers) as answer:
                content = await answer.read()
        if found := [one for one in lost if one in request.path]:
            lost.remove(found[0])
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=answer.status, body=content, content_type="application/json")

    app = web.Application(client_max_size=10_000_000)
    app.router.add_route("*", "/{path:.*}", passed_on)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_lost_answer_is_settled_by_sending_again(stage: Stage, encrypted: bool) -> None:
    lost: list[str] = []

    async def scenario() -> None:
        async with (
            stage.person("ada", encrypts=encrypted) as ada,
            losing(stage.server.url, lost) as url,
            stage.running(url=url) as scene,
        ):
            room = await meet(stage, ada, encrypted=encrypted)
            lost.append("/send/m.room.")
            await ada.say(room, "once")
            await scene.until("SELECT 1 FROM outbox WHERE state = 'sent' HAVING count(*) = 2")
            await ada.say(room, "and then")
            assert await ada.until(3) == ["You said: hello", "You said: once", "You said: and then"]
            assert lost == []

    run(scenario)


def test_what_was_sent_is_found_and_not_sent_twice(stage: Stage) -> None:
    async def steps(scene: Scene, ada: Person) -> None:
        channel = scene.channels["matrix"]
        assert isinstance(channel, Reconciles)
        room = await meet(stage, ada)
        now = datetime.now(UTC)
        first = await text_out(channel, ada.user, "only once")
        assert first.delivery is Delivery.SENT
        assert (await text_out(channel, ada.user, "only once")).provider_id == first.provider_id
        found = await channel.find(outbound(ada.user, "only once"), since=now, known=())
        assert found == Seen(provider_id=first.provider_id or "", delivery=Delivery.SENT)
        assert isinstance(
            await channel.find(outbound(ada.user, "only once"), since=now - timedelta(days=1), known=()), NotTold
        )
        # Another worker does not know in which room it was tried, if the person has written since.
        async with AsyncExitStack() as stack:
            set_up = read_channels(stage.environment())
            opened = [await stack.enter_async_context(open_channels(set_up, scene.outside)) for _ in range(2)]
            other, another = (channels["matrix"] for channels in opened)
            assert isinstance(other, Reconciles)
            assert isinstance(another, Reconciles)
            assert await other.find(outbound(ada.user, "only once"), since=now, known=()) == found
            await ada.say(room, "again")
            await ada.until(3)
            assert isinstance(await another.find(outbound(ada.user, "only once"), since=now, known=()), NotTold)
        assert ada.texts == ["You said: hello", "only once", "You said: again"]

    play(stage, steps)


def test_in_a_room_of_several_it_answers_when_it_is_addressed(stage: Stage) -> None:
    async def scenario() -> None:
        async with stage.person("ada") as ada, stage.person("ben") as ben, stage.running() as scene:
            own = await meet(stage, ada)
            room = await ada.room(stage.agent.user, ben.user, name="us")
            await ben.join(room)
            await ada.until_joined(room, stage.agent.user)
            agent, name = stage.agent.user, stage.agent.user[1:].partition(":")[0]
            pill = f'<a href="https://matrix.to/#/{agent}">Agent</a>, and by a pill?'
            await ben.say(room, "just between us")
            await ben.say(room, f"{name.title()}, by name?")
            first = await ada.until_said(agent, "by name?")
            assert first == f"You said: [{ben.user[1:].partition(':')[0].title()}:] by name?"
            await ben.say(room, "by a mention?", {"m.mentions": {"user_ids": [agent]}})
            await ben.until_said(agent, "by a mention?")
            await ben.say(room, "Agent, and by a pill?", {"formatted_body": pill})
            await ben.until_said(agent, "and by a pill?")
            event_id = next(event["event_id"] for event in ben.heard if event["sender"] == agent)
            reply = {"m.relates_to": {"m.in_reply_to": {"event_id": event_id}}, "m.mentions": {}}
            await ben.say(room, "by a reply?", reply)
            await ben.until_said(agent, "by a reply?")
            await ada.hear()
            to_ada = next(event["event_id"] for event in ada.heard if event["sender"] == ben.user)
            await ben.say(room, "to oneself", {"m.relates_to": {"m.in_reply_to": {"event_id": to_ada}}})
            await ben.say(room, f"{agent}: the end")
            await ben.until_said(agent, "the end")
            addresses = scene.rows("SELECT address, tenant_id FROM identity ORDER BY linked_at")
            assert [address for address, _ in addresses] == [ada.user, room]
            assert len({tenant for _, tenant in addresses}) == 2
            texts = [text for (text,) in scene.rows("SELECT text FROM inbox ORDER BY received_at")]
            assert texts == ["hello", "by name?", "by a mention?", "Agent, and by a pill?", "by a reply?", "the end"]
            await ada.say(own, "and in private")
            await ada.until_said(agent, "You said: and in private")

    run(scenario)


def test_what_is_private_is_not_said_where_others_have_come_in(stage: Stage) -> None:
    async def scenario() -> None:
        async with stage.person("ada") as ada, stage.person("ben") as ben, stage.running() as scene:
            room = await meet(stage, ada)
            channel = scene.channels["matrix"]
            assert (await text_out(channel, ada.user, "a secret")).delivery is Delivery.SENT
            await ada.client.room_invite(room, ben.user)
            result = await text_out(channel, ada.user, "another secret")
            assert (result.delivery, result.trouble) == (Delivery.FAILED, Trouble.REFUSED)
            assert "others" in result.detail
            await ben.join(room)
            await ada.say(room, "nobody is asked")
            await ada.say(room, f"{stage.agent.user}: and this is for all")
            await ben.until_said(stage.agent.user, "and this is for all")
            assert "another secret" not in [*ada.texts, *ben.texts]
            assert scene.rows("SELECT count(*) FROM identity WHERE address = %s", room) == [(1,)]
            assert scene.rows("SELECT count(*) FROM inbox") == [(2,)]

    run(scenario)


def test_a_public_room_is_nobodys_own(stage: Stage) -> None:
    async def steps(scene: Scene, ada: Person) -> None:
        room = await ada.room(stage.agent.user, public=True)
        await ada.until_joined(room, stage.agent.user)
        await ada.say(room, "nobody is asked")
        await ada.say(room, f"@{stage.agent.user[1:].partition(':')[0]} hello")
        assert (await ada.until(1))[0].endswith("hello")
        assert scene.rows("SELECT address FROM identity") == [(room,)]

    play(stage, steps)


def test_what_was_said_before_the_agent_was_invited_is_not_for_it(stage: Stage) -> None:
    async def scenario() -> None:
        async with stage.person("ada") as ada, stage.running() as scene:
            room = await ada.room()
            await ada.say(room, "to myself")
            await ada.client.room_invite(room, stage.agent.user)
            await ada.say(room, "to you")
            assert await ada.until(1) == ["You said: to you"]
            assert scene.rows("SELECT text FROM inbox") == [("to you",)]

    run(scenario)


def test_edits_and_other_bots_are_left_alone(stage: Stage) -> None:
    async def steps(scene: Scene, ada: Person) -> None:
        room = await meet(stage, ada)
        said_before = await ada.say(room, "once")
        await ada.until(2)
        edit = {"m.new_content": {"msgtype": "m.text", "body": "ones"}}
        relation = {"m.relates_to": {"rel_type": "m.replace", "event_id": said_before}}
        await ada.say(room, "* ones", {**edit, **relation})
        await ada.say(room, "I am a bot", {"msgtype": "m.notice"})
        await ada.say(room, "waves", {"msgtype": "m.emote"})
        assert (await ada.until(3))[2] == "You said: waves"
        assert scene.rows("SELECT count(*) FROM inbox") == [(3,)]

    play(stage, steps)


def test_invitations_have_bounds(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invitations, "OF_ONE_PERSON", 1)

    async def steps(scene: Scene, ada: Person) -> None:
        await meet(stage, ada)
        room = await ada.room(stage.agent.user)
        async with asyncio.timeout(30):
            while True:
                state = await ada.client.room_get_state_event(room, "m.room.member", stage.agent.user)
                if state.content["membership"] != "invite":
                    break
                await asyncio.sleep(0.02)
        assert state.content["membership"] == "leave"

    play(stage, steps)


def test_it_is_shown_that_the_agent_is_at_work(stage: Stage) -> None:
    async def steps(scene: Scene, ada: Person) -> None:
        await meet(stage, ada)
        ada.typing.clear()
        channel = scene.channels["matrix"]
        assert isinstance(channel, ShowsTyping)
        await channel.typing(Address(channel="matrix", address=ada.user))
        async with asyncio.timeout(30):
            while [stage.agent.user] not in ada.typing:
                await ada.hear(500)
        await channel.typing(Address(channel="matrix", address="!nowhere:matrix.test"))
        await channel.typing(Address(channel="matrix", address="@nobody:matrix.test"))

    play(stage, steps)


async def uploaded(ada: Person, content: bytes) -> str:
    answer, _ = await ada.client.upload(lambda *_: content, "application/octet-stream", "file", filesize=len(content))
    assert isinstance(answer, UploadResponse), answer
    return str(answer.content_uri)


def test_files_are_fetched_within_bounds(stage: Stage) -> None:
    async def steps(scene: Scene, ada: Person) -> None:
        channel = scene.channels["matrix"]
        assert isinstance(channel, Fetches)
        room = await meet(stage, ada)
        url = await uploaded(ada, b"\x00\xffGIF")
        assert await channel.fetch(url, 1_000) == b"\x00\xffGIF"
        with pytest.raises(Invalid):
            await channel.fetch(url, 4)
        with pytest.raises(NotFound):
            await channel.fetch(url + "gone", 1_000)
        await ada.say(
            room, "moss.gif", {"msgtype": "m.image", "url": url, "info": {"mimetype": "image/gif", "size": 5}}
        )
        await ada.until(2)
        assert [content for (_, path), content in scene.files.written.items() if "moss" in path] == [b"\x00\xffGIF"]

        ciphertext, keys = encrypt_attachment(b"for us alone")
        file = {**keys, "url": await uploaded(ada, ciphertext)}
        event = {"type": "m.room.message", "event_id": "$1", "sender": ada.user, "origin_server_ts": 1}
        read = read_event({**event, "content": {"msgtype": "m.file", "body": "a.txt", "file": file}}, stage.agent.user)
        assert read is not None
        handle = read.attachments[0].handle
        assert await channel.fetch(handle, 1_000) == b"for us alone"
        file["url"] = await uploaded(ada, ciphertext + b"!")
        read = read_event({**event, "content": {"msgtype": "m.file", "body": "a.txt", "file": file}}, stage.agent.user)
        assert read is not None
        with pytest.raises(NotFound):
            await channel.fetch(read.attachments[0].handle, 1_000)

    play(stage, steps)


@pytest.mark.parametrize("encrypted", [False, True])
def test_files_go_out_encrypted_where_the_room_is_and_are_found_again(stage: Stage, encrypted: bool) -> None:
    async def scenario() -> None:
        async with stage.person("ada", encrypts=encrypted) as ada, stage.running() as scene:
            await meet(stage, ada, encrypted=encrypted)
            channel = scene.channels["matrix"]
            assert isinstance(channel, SendsFiles)
            assert isinstance(channel, Reconciles)
            file = OutboundFile(name="moss.png", media_type="image/png", size_bytes=6, content=b"\x89PNG\r\n")
            message = replace(outbound(ada.user, "Moss", part=1), file=file)
            began = datetime.now(UTC)
            assert isinstance(await channel.find(message, since=began, known=()), NotSeen)
            sent = [await channel.send_file(message, file) for _ in range(2)]
            assert sent[0] == sent[1], "the same at every try"
            assert sent[0].delivery is Delivery.SENT
            assert await channel.find(message, since=began, known=()) == Seen(
                provider_id=str(sent[0].provider_id), delivery=Delivery.SENT
            )
            await ada.until(2)
            shown = ada.heard[-1]["content"]
            assert (shown["msgtype"], shown["filename"], shown["info"]["size"]) == ("m.image", "moss.png", 6)
            assert ("file" in shown, "url" in shown) == (encrypted, not encrypted)
            handle = read_event(ada.heard[-1] | {"sender": ada.user, "event_id": "$1"}, stage.agent.user)
            assert handle is not None
            assert isinstance(channel, Fetches)
            assert await channel.fetch(handle.attachments[0].handle, 100) == file.content
            large = replace(file, size_bytes=60_000_000, content=b"x" * 14_000_000)
            assert channel.takes(message.to, large.media_type, large.size_bytes) is False

    run(scenario)


def test_the_device_is_the_same_after_a_restart_and_in_every_worker(stage: Stage) -> None:
    async def scenario() -> None:
        async with stage.person("ada", encrypts=True) as ada:
            async with stage.running():
                room = await meet(stage, ada, encrypted=True)
            async with stage.running() as scene, AsyncExitStack() as stack:
                await ada.say(room, "and again")
                assert (await ada.until(2))[1] == "You said: and again"
                set_up = read_channels(stage.environment())
                others = [
                    (await stack.enter_async_context(open_channels(set_up, scene.outside)))["matrix"] for _ in range(2)
                ]
                for n in range(6):
                    assert (await text_out(others[n % 2], ada.user, f"number {n}", n)).delivery is Delivery.SENT
                    await ada.say(room, f"between {n}")
                expected = {f"number {n}" for n in range(6)} | {f"You said: between {n}" for n in range(6)}
                assert set((await ada.until(14))[2:]) == expected
                assert "is signed by the account" in await stage.check(scene)
                kept = scene.rows("SELECT string_agg(encode(value, 'escape'), '') FROM channel_entry")[0][0]
                for word in ("pickle", "ed25519", stage.agent.token):
                    assert word not in str(kept)
            senders = {event["sender"] for event in ada.heard}
            assert senders == {stage.agent.user}

    run(scenario)


def test_who_comes_in_later_does_not_read_what_was_said_and_can_read_what_is_said(stage: Stage) -> None:
    async def scenario() -> None:
        async with (
            stage.person("ada", encrypts=True) as ada,
            stage.person("ben", encrypts=True) as ben,
            stage.running() as scene,
        ):
            room = await ada.room(stage.agent.user, encrypted=True, name="us")
            await ada.until_joined(room, stage.agent.user)
            channel = scene.channels["matrix"]
            assert (await text_out(channel, room, "before")).delivery is Delivery.SENT
            await ada.until(1)
            await ada.client.room_invite(room, ben.user)
            await ben.join(room)
            assert (await text_out(channel, room, "after", 1)).delivery is Delivery.SENT
            assert (await ada.until(2)) == ["before", "after"]
            assert "after" in await ben.until(1)
            assert "before" not in ben.texts
            await ada.client.room_kick(room, ben.user)
            assert (await text_out(channel, room, "among us", 2)).delivery is Delivery.SENT
            assert (await ada.until(3))[2] == "among us"

    run(scenario)


def test_a_message_whose_key_never_comes_is_told_of(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unread, "TOLD_AFTER", timedelta(0))

    async def steps(scene: Scene, ada: Person) -> None:
        room = await ada.room(stage.agent.user, encrypted=True)
        await ada.until_joined(room, stage.agent.user)
        sealed = {
            "algorithm": "m.megolm.v1.aes-sha2",
            "ciphertext": "AwgAEpABm6",
            "sender_key": "k",
            "device_id": "D",
            "session_id": "s",
        }
        for content in (sealed, {"algorithm": 1}, {}):
            await ada.client.room_send(room, "m.room.encrypted", content)
        await ada.until(1)
        assert scene.rows("SELECT count(*) FROM tenant") == [(0,)]
        await ada.say(room, "in the clear")
        assert (await ada.until(2))[1] != ""
        await scene.until("SELECT 1 FROM inbox WHERE text = 'in the clear'")

    play(stage, steps)


def test_a_device_of_another_token_is_begun_anew(stage: Stage) -> None:
    async def scenario() -> None:
        async with stage.person("ada", encrypts=True) as ada:
            async with stage.running() as scene:
                await meet(stage, ada, encrypted=True)
            scene.rows("UPDATE channel_entry SET value = sha256(value) WHERE channel = 'matrix-device'")
            async with stage.running() as again:
                await again.until("SELECT 1 FROM channel_entry WHERE name = 'account' AND length(value) > 100")
                room = await ada.room(stage.agent.user)
                await ada.say(room, "and without encryption?")
                assert "You said: and without encryption?" in await ada.until(2)

    run(scenario)


def test_who_has_left_or_never_wrote_is_not_written_to(stage: Stage) -> None:
    async def steps(scene: Scene, ada: Person) -> None:
        channel, room = scene.channels["matrix"], await meet(stage, ada)
        await ada.client.room_leave(room)
        result = await text_out(channel, ada.user, "a tenant's words")
        assert (result.delivery, result.trouble) == (Delivery.FAILED, Trouble.REFUSED)
        for to in ("@nobody:matrix.test", "!nowhere:matrix.test"):
            result = await text_out(channel, to, "a tenant's words")
            assert (result.delivery, result.trouble) == (Delivery.FAILED, Trouble.REFUSED)
            for private in (ada.user, "tenant's words", stage.agent.token):
                assert private not in result.detail

    play(stage, steps)


def test_the_doctor_makes_a_real_call(stage: Stage) -> None:
    async def scenario() -> None:
        async with stage.running() as scene:
            await scene.until("SELECT 1 FROM channel_entry WHERE name = 'since'")
            said = await stage.check(scene)
            assert said == f"{stage.agent.user} answers; its device {stage.agent.device} is signed by the account"
        other = stage.server.register(f"other{stage.number}")
        async with stage.running(token=other.token) as scene:
            with pytest.raises(Unavailable) as caught:
                await stage.check(scene)
            assert other.user in caught.value.public

    run(scenario)
