"""Streams over a link: credit, closing, and an other end that breaks the rules."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from subclaw_guest.frames import WINDOW_BYTES, Frame, FrameError, Kind, credit, encode
from subclaw_guest.link import Link, LinkClosed, Stream, StreamCancelled

Scenario = Callable[[Link, Link, list[Stream]], Awaitable[None]]


def linked(scenario: Scenario) -> None:
    """Run a scenario with a host's link, an agent's, and the streams that the agent was asked to open."""

    async def run() -> None:
        to_agent: asyncio.Queue[bytes] = asyncio.Queue()
        to_host: asyncio.Queue[bytes] = asyncio.Queue()
        opened: list[Stream] = []
        host = Link(to_agent.put)
        agent = Link(to_host.put, on_open=lambda stream, request: opened.append(stream), on_cancel=lambda stream: None)
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            pumps = [group.create_task(agent.pump(to_agent.get)), group.create_task(host.pump(to_host.get))]
            await scenario(host, agent, opened)
            for pump in pumps:
                pump.cancel()

    asyncio.run(run())


def received(*frames: Frame, opens: int = 1) -> None:
    """Give a host's link, which has opened streams, what an agent sends, and the end of it."""

    async def run() -> None:
        async def write(data: bytes) -> None:
            pass

        link = Link(write)
        for _ in range(opens):
            await link.open(b"{}")
        pieces = [encode(frame) for frame in frames] + [b""]

        async def read() -> bytes:
            return pieces.pop(0)

        await link.pump(read)

    asyncio.run(run())


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(50):
        await asyncio.sleep(0)


def test_call_is_answered() -> None:
    async def scenario(host: Link, agent: Link, opened: list[Stream]) -> None:
        stream = await host.open(b"request")
        await stream.send(b"input")
        await stream.end()
        await settle()
        assert await opened[0].receive() == b"input"
        assert await opened[0].receive() is None
        await opened[0].send(b"output")
        await opened[0].finish(Kind.RESULT, b"{}")
        assert await stream.receive() == b"output"
        assert await stream.receive() is None
        assert (await stream.final()).payload == b"{}"

    linked(scenario)


def test_sender_waits_for_credit_and_others_do_not() -> None:
    async def scenario(host: Link, agent: Link, opened: list[Stream]) -> None:
        slow, quick = await host.open(b""), await host.open(b"")
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(slow.send(bytes(3 * WINDOW_BYTES)))
            await settle()
            assert not sending.done()
            await quick.send(b"quick")
            await settle()
            assert await opened[1].receive() == b"quick"
            size = 0
            while size < 3 * WINDOW_BYTES:
                size += len(await opened[0].receive() or b"")

    linked(scenario)


def test_closing_fails_whoever_waits() -> None:
    async def scenario(host: Link, agent: Link, opened: list[Stream]) -> None:
        stream = await host.open(b"")
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(expect(LinkClosed, stream.receive()))
            await settle()
            host.close()
            await waiting
        with pytest.raises(LinkClosed):
            await host.open(b"")

    linked(scenario)


def test_cancelling_fails_whoever_waits_at_both_ends() -> None:
    async def scenario(host: Link, agent: Link, opened: list[Stream]) -> None:
        stream = await host.open(b"")
        await settle()
        async with asyncio.TaskGroup() as group:
            group.create_task(expect(StreamCancelled, stream.receive()))
            group.create_task(expect(LinkClosed, opened[0].receive()))
            await settle()
            await stream.cancel()
        # What the agent had under way for it is no error.
        await opened[0].finish(Kind.RESULT, b"{}")
        other = await host.open(b"")
        await settle()
        await opened[1].finish(Kind.RESULT, b"{}")
        assert (await other.final()).kind is Kind.RESULT

    linked(scenario)


async def expect(error: type[Exception], call: Awaitable[object]) -> None:
    with pytest.raises(error):
        await call


def data(size: int, stream: int = 1) -> Frame:
    return Frame(stream=stream, kind=Kind.DATA, payload=bytes(size))


@pytest.mark.parametrize(
    "frames",
    [
        [data(60_000) for _ in range(5)],
        [Frame(stream=1, kind=Kind.END), data(1)],
        [Frame(stream=1, kind=Kind.END)] * 2,
        [credit(1, 1)],
        [credit(1, 0)],
        [Frame(stream=1, kind=Kind.RESULT), data(1)],
        [data(1, stream=2)],
        [Frame(stream=2, kind=Kind.RESULT)],
        [Frame(stream=2, kind=Kind.OPEN)],
        [Frame(stream=1, kind=Kind.CANCEL)],
    ],
    ids=[
        "flood",
        "after end",
        "two ends",
        "too much credit",
        "no credit",
        "after result",
        "data unasked",
        "result unasked",
        "opens",
        "cancels",
    ],
)
def test_agent_that_breaks_a_rule(frames: list[Frame]) -> None:
    with pytest.raises(FrameError):
        received(*frames)


def test_late_frames_are_ignored_within_what_can_have_been_under_way() -> None:
    async def run(frames: list[Frame]) -> None:
        async def write(data: bytes) -> None:
            pass

        link = Link(write)
        await (await link.open(b"{}")).cancel()
        pieces = [*(encode(frame) for frame in frames), b""]

        async def read() -> bytes:
            return pieces.pop(0)

        await link.pump(read)

    under_way = [data(65_536)] * 4 + [Frame(stream=1, kind=Kind.END), Frame(stream=1, kind=Kind.RESULT)]
    asyncio.run(run(under_way))
    with pytest.raises(FrameError):
        asyncio.run(run(under_way * 2))


def test_host_may_not_send_results() -> None:
    async def run() -> None:
        async def write(data: bytes) -> None:
            pass

        pieces = [encode(Frame(stream=1, kind=Kind.OPEN)), encode(Frame(stream=1, kind=Kind.RESULT))]

        async def read() -> bytes:
            return pieces.pop(0)

        link = Link(write, on_open=lambda stream, request: None)
        with pytest.raises(FrameError):
            await link.pump(read)

    asyncio.run(run())


def test_numbering_goes_on_where_it_was() -> None:
    async def run() -> None:
        written: list[bytes] = []

        async def write(data: bytes) -> None:
            written.append(data)

        link = Link(write, last_number=41)
        assert link.last_number == 41
        stream = await link.open(b"{}")
        assert (stream.number, link.last_number) == (42, 42)
        assert written == [encode(Frame(stream=42, kind=Kind.OPEN, payload=b"{}"))]

    asyncio.run(run())


def test_agent_goes_on_with_another_link_of_the_host() -> None:
    async def scenario(host: Link, agent: Link, opened: list[Stream]) -> None:
        left, last = await host.open(b"left"), await host.open(b"last")
        await settle()
        await left.cancel()
        await settle()
        # What was under way for the stream that was cancelled is not sent any more, so nothing comes after the answer.
        await opened[0].finish(Kind.RESULT, b"{}")
        with pytest.raises(LinkClosed):
            await opened[0].send(b"late")
        await opened[1].finish(Kind.RESULT, b"{}")
        assert (await last.final()).kind is Kind.RESULT

        async def write(data: bytes) -> None:
            await agent_reads.put(data)

        agent_reads: asyncio.Queue[bytes] = asyncio.Queue()
        next_host = Link(write, last_number=host.last_number)
        async with asyncio.TaskGroup() as group:
            pump = group.create_task(agent.pump(agent_reads.get))
            await next_host.open(b"next")
            await settle()
            assert [stream.number for stream in opened] == [1, 2, 3]
            pump.cancel()

    linked(scenario)


def test_late_frames_of_the_link_before_are_not_expected() -> None:
    async def run() -> None:
        async def write(data: bytes) -> None:
            pass

        pieces = [encode(data(1, stream=7)), b""]

        async def read() -> bytes:
            return pieces.pop(0)

        with pytest.raises(FrameError):
            await Link(write, last_number=7).pump(read)

    asyncio.run(run())
