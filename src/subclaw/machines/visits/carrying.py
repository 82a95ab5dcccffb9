"""Carrying one visit: the request into the machine, the answer out, until it ends or has to."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Any

from subclaw.core.errors import Unavailable
from subclaw.machines.guest.answers import result
from subclaw.machines.guest.guest import Guest
from subclaw.machines.life import Visit
from subclaw.machines.visits.answer import Answer
from subclaw.machines.visits.head import RequestHead
from subclaw_guest.link import LinkClosed, Stream, StreamCancelled

PIECE_BYTES = 32_768
ANSWER_S = 110.0
"""How long a server may be silent before it begins to answer; the router waits a little longer."""

HALF_OPEN_S = 60.0
"""How long a visit that is over in one direction may be silent in the other."""

REFUSED_S = 0.2
"""How long it takes at most to know that a connection was refused: the reason is there, or the server said nothing."""

FINISH_S = 10.0
"""How long an answer that has to end may take for its rest."""

LOOK_S = 5.0


class NoAnswer(Unavailable):
    """A server has taken a request and says nothing."""


@dataclass(frozen=True, kw_only=True)
class Caller:
    """A visitor: the connection, whose head has been read, and the answer as far as it went."""

    head: RequestHead
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    answer: Answer = field(default_factory=Answer)


async def carry(guest: Guest, port: int, visit: Visit, caller: Caller) -> None:
    """Carry one visit to its end, its answer watched. Raises `NotListening`, if nothing was answered, `NoAnswer`.

    Raises `GuestBroken` if the machine stopped, also when it went to sleep; `OSError` if the visitor left.
    """
    reader, writer, answer = caller.reader, caller.writer, caller.answer
    async with guest.connect(port) as stream:
        inward = asyncio.ensure_future(carry_inward(caller.head.content, reader, stream, visit))
        outward = asyncio.ensure_future(carry_outward(stream, writer, visit, answer))
        try:
            await until_over(inward, outward, visit, answer)
            if outward.done():
                outward.result()
        finally:
            for direction in (inward, outward):
                direction.cancel()
            await asyncio.wait([inward, outward])
            if outward.done() and not outward.cancelled():
                outward.exception()  # so that it is no complaint of asyncio's where another error is told
            with contextlib.suppress(OSError):
                say_farewell(writer, answer)


def say_farewell(writer: asyncio.StreamWriter, answer: Answer) -> None:
    """End an answer properly, if it can be where it stands."""
    if (last := answer.farewell()) and not writer.is_closing():
        writer.write(last)


async def until_over(inward: asyncio.Future[None], outward: asyncio.Future[None], visit: Visit, answer: Answer) -> None:
    """Wait until an answer has ended, must end, or will not come. Raises `NoAnswer`."""
    over = asyncio.ensure_future(visit.over.wait())
    either: set[asyncio.Future[Any]] = {outward, over}
    try:
        while not (outward.done() or over.done()):
            await asyncio.wait(either, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            silent_s = visit.silent_s()
            if not answer.has_begun and silent_s > ANSWER_S:
                raise NoAnswer("The server in the machine does not answer.")
            if inward.done() and silent_s > HALF_OPEN_S:
                return
        if not answer.farewell():
            await asyncio.wait([outward], timeout=FINISH_S)
    finally:
        over.cancel()


async def carry_inward(head: bytes, reader: asyncio.StreamReader, stream: Stream, visit: Visit) -> None:
    """Visitor to server. The end of what comes is passed on; a broken connection ends both directions."""
    try:
        await stream.send(head)
        while piece := await reader.read(PIECE_BYTES):
            await stream.send(piece)
            visit.touch()
        await stream.end()
    except OSError:
        await stream.cancel()
    except (LinkClosed, StreamCancelled):
        pass  # the other direction knows why


async def carry_outward(stream: Stream, writer: asyncio.StreamWriter, visit: Visit, answer: Answer) -> None:
    """Server to visitor. Raises what the agent refused the connection with, and `OSError` if the visitor left."""
    while (piece := await stream.receive()) is not None:
        answer.feed(piece)
        writer.write(piece)
        await writer.drain()
        visit.touch()
        if visit.over.is_set() and answer.farewell():
            return
    say_farewell(writer, answer)
    if answer.has_begun:
        writer.write_eof()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(HALF_OPEN_S if answer.has_begun else REFUSED_S):
            await result(stream)
