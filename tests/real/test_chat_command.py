"""`subclaw chat` against the web chat's real routes: scripts, files, what comes unasked, and restarts."""

import asyncio
import io
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from fastapi import FastAPI
from rich.console import Console

from subclaw.channels.web.client import FileToSend, web_person
from subclaw.channels.web.inbound import web_router
from subclaw.commands.chat import converse, read_file, say_once
from subclaw.config import Settings, load_settings
from subclaw.core.channel import InboundMessage
from subclaw.core.errors import Invalid, Unavailable
from subclaw.home import Home, held
from subclaw.testing.chat import MemoryChat
from subclaw.testing.serving import free_port, serving

DEADLINE_S = 30


@pytest.fixture
def home() -> Iterator[Home]:
    with tempfile.TemporaryDirectory(prefix="subclaw-") as name:  # short: sockets are below it
        home = Home(Path(name))
        with held(home):
            yield home


@asynccontextmanager
async def running(home: Home, chat: MemoryChat, *, port: int = 0) -> AsyncIterator[Settings]:
    """Serve the web chat, and answer each message with its own words until the block ends."""
    before = len(chat.received)  # somebody who waited is there as soon as it is served
    app = FastAPI()
    app.include_router(web_router(intake=chat, feed=chat, title="subclaw", public_url="http://localhost"))
    async with asyncio.timeout(DEADLINE_S), serving(app, port=port) as number, asyncio.TaskGroup() as group:
        settings = settings_of(home, number)
        answering = group.create_task(answer(chat, before))
        yield settings
        answering.cancel()


def settings_of(home: Home, port: int) -> Settings:
    home.port_file.write_text(str(port))
    return load_settings({"SUBCLAW_HOME": str(home.path), "SUBCLAW_PORT": str(port)})


async def answer(chat: MemoryChat, answered: int) -> None:
    while True:
        await chat.wait_received(answered + 1)
        message = chat.received[answered]
        answered += 1
        await chat.reply(message.sender, f"You said: {message.text}{files_of(message)}")


def files_of(message: InboundMessage) -> str:
    return "".join(f" +{one.name} {one.media_type} {one.size_bytes}" for one in message.attachments)


def paper() -> Console:
    return Console(file=io.StringIO(), width=200)


def on(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_script_gets_the_reply_and_nothing_else(home: Home) -> None:
    async def scenario() -> None:
        chat = MemoryChat()
        async with running(home, chat) as settings:
            out, aside = paper(), paper()
            await say_once(settings, out, "[bold]hi[/] :smile:", aside=aside)
            assert (on(out), on(aside)) == ("You said: [bold]hi[/] :smile:\n", "")
            await chat.reply(chat.received[0].sender, "Drink!")
            out = paper()
            await say_once(settings, out, "again", aside=aside)
            assert (on(out), on(aside)) == ("You said: again\n", "agent  Drink!\n")
            await say_once(settings, paper(), "hello", name="ann", aside=aside)
            first, second, third = (message.sender for message in chat.received)
            assert first == second != third
            assert home.chat_file.stat().st_mode & 0o077 == 0

    asyncio.run(scenario())


def test_files_go_along(home: Home, tmp_path: Path) -> None:
    async def scenario() -> None:
        chat, picture = MemoryChat(), tmp_path / "cat.png"
        picture.write_bytes(b"\x89PNG" * 300_000)
        async with running(home, chat) as settings:
            out = paper()
            await say_once(settings, out, "look", files=[picture], aside=paper())
            assert on(out) == "You said: look +cat.png image/png 1200000\n"
            assert chat.received[0].attachments[0].content == picture.read_bytes()
            picture.write_bytes(b"x" * 8_000_000)
            with pytest.raises(Invalid, match=r"too long"):
                await say_once(settings, out, "look", files=[picture], aside=paper())
            for wrong in (tmp_path / "none", tmp_path):
                with pytest.raises(Invalid, match=r"cannot be read"):
                    read_file(wrong)

    asyncio.run(scenario())


def test_what_comes_unasked_is_shown_in_a_conversation(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        chat, out, shown = MemoryChat(), paper(), asyncio.Event()
        lines = iter(["hello", "/file " + str(home.lock_file)])

        def next_line(prompt: str) -> str:
            if (line := next(lines, None)) is not None:
                return line
            asyncio.run_coroutine_threadsafe(chat.reply(chat.received[0].sender, "Drink!"), loop).result(DEADLINE_S)
            while "Drink!" not in on(out):
                assert not shown.is_set()
            raise EOFError

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(out, "input", next_line)
        async with running(home, chat) as settings:
            await converse(settings, out)
        said = [line for line in on(out).splitlines() if line.startswith("agent")]
        assert said[0] == "agent  You said: hello"
        assert said[1].startswith("agent  You said:  +")
        assert said[2] == "agent  Drink!"

    asyncio.run(scenario())


def test_a_restart_in_the_middle_loses_and_doubles_nothing(home: Home) -> None:
    async def scenario() -> None:
        chat, out, port = MemoryChat(), paper(), free_port()
        async with running(home, chat, port=port) as settings:
            await say_once(settings, paper(), "before", aside=paper())
            chat.available = False
            saying = asyncio.create_task(say_once(settings, out, "through it", aside=paper()))
            await chat.wait_refused()
        chat.available = True
        async with running(home, chat, port=port):
            await saying
        assert on(out) == "You said: through it\n"
        assert [message.text for message in chat.received] == ["before", "through it"]

    asyncio.run(scenario())


def test_whoever_comes_during_a_restart_waits_for_its_end(home: Home) -> None:
    async def scenario() -> None:
        chat, out, port, turned_away = MemoryChat(), paper(), free_port(), asyncio.Event()

        def turn_away(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            turned_away.set()
            writer.close()

        settings = settings_of(home, port)
        async with await asyncio.start_server(turn_away, "127.0.0.1", port):
            saying = asyncio.create_task(say_once(settings, out, "anybody?", aside=paper()))
            async with asyncio.timeout(DEADLINE_S):
                await turned_away.wait()
        async with running(home, chat, port=port):
            await saying
        assert on(out) == "You said: anybody?\n"

    asyncio.run(scenario())


def test_a_message_that_is_sent_again_is_one(home: Home) -> None:
    async def scenario() -> None:
        chat = MemoryChat()
        async with running(home, chat), web_person(f"http://127.0.0.1:{home.port()}") as person:
            id = "0b8f3f6e-3b1a-4d55-9a3c-0a6a3c2f1d11"
            for _ in range(3):
                await person.say("hello", id=id, files=[FileToSend(name="a.txt", content=b"a")])
            assert len(chat.received) == 1

    asyncio.run(scenario())


def test_ten_messages_are_told_in_order(home: Home) -> None:
    async def scenario() -> None:
        chat = MemoryChat()
        async with running(home, chat) as settings:
            for number in range(10):
                await say_once(settings, paper(), f"message {number}", aside=paper())
            assert [message.text for message in chat.received] == [f"message {number}" for number in range(10)]

    asyncio.run(scenario())


@pytest.mark.parametrize(("text", "name", "words"), [("  ", "", "nothing to say"), ("hi", "../x", "--as takes")])
def test_what_cannot_be_is_refused_in_words(home: Home, text: str, name: str, words: str) -> None:
    async def scenario() -> None:
        async with running(home, MemoryChat()) as settings:
            with pytest.raises(Invalid, match=words):
                await say_once(settings, paper(), text, name=name, aside=paper())

    asyncio.run(scenario())


def test_without_a_running_subclaw_it_says_how_to_start_one() -> None:
    settings = load_settings({"SUBCLAW_HOME": "/tmp/nobody-runs-here"})
    with pytest.raises(Unavailable, match=r"subclaw up"):
        asyncio.run(say_once(settings, paper(), "hi", aside=paper()))
