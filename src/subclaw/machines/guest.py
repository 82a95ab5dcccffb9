"""The host's end of a machine: calls to the agent. Whatever comes back is bounded, parsed strictly and timed out."""

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from subclaw.core.errors import Denied, Exhausted, Invalid, NotFound, SubclawError, Unavailable
from subclaw.core.machine import Command, CommandResult, Ended, FileSlice, Match, SearchResult
from subclaw_guest.frames import MAX_PAYLOAD_BYTES, Frame, Kind
from subclaw_guest.link import Link, LinkClosed, Stream
from subclaw_guest.refusals import Reason

ANSWER_S = 60.0
"""How long the agent may take for a call that has no time limit of its own: a machine may be busy, or slow."""
GRACE_S = 30.0
CANCEL_S = 2.0
MATCH_BYTES = 8_192
MATCH_TEXT = 300
PATH_LIMIT = 4_096
REQUEST_LIMIT_BYTES = MAX_PAYLOAD_BYTES // 2
Fields = dict[str, Any]
T = TypeVar("T")

WORDS: dict[Reason, tuple[type[SubclawError], str]] = {
    Reason.BUSY: (Exhausted, "The machine is doing too many things at once."),
    Reason.BAD_REQUEST: (Invalid, "The machine cannot make sense of that."),
    Reason.BAD_PATTERN: (Invalid, "That is not a regular expression that can be searched for"),
    Reason.BAD_PATH: (Invalid, "That is not a path."),
    Reason.MISSING: (NotFound, "There is no such file or folder in the machine."),
    Reason.IS_FOLDER: (Invalid, "That is a folder, not a file."),
    Reason.NOT_FOLDER: (Invalid, "That is not a folder."),
    Reason.NOT_REGULAR: (Invalid, "That is not a regular file, but a device, a pipe or a socket."),
    Reason.DENIED: (Denied, "The machine does not allow that."),
    Reason.NO_SPACE: (Exhausted, "The machine's disk is full."),
    Reason.TOO_LARGE: (Exhausted, "That is larger than its limit."),
    Reason.NOT_LISTENING: (Unavailable, "Nothing listens on that port in the machine."),
    Reason.FAILED: (Unavailable, "The machine could not do that."),
}


class GuestBroken(Exception):
    """The machine stopped, does not answer, or breaks its protocol. It must not be used any more."""


class Guest:
    """Calls to one machine's agent. Every method raises `GuestBroken`, and the errors that its port names."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def set_up(self, hostname: str, *, timeout_s: float) -> None:
        """Make the waiting machine a tenant's: its clock, entropy, name and disk."""
        nonce = secrets.token_hex(16)
        fields = {"hostname": hostname, "clock_ns": time.time_ns(), "entropy": secrets.token_hex(64), "nonce": nonce}
        async with self._call("setup", fields, timeout_s) as stream:
            if (await result(stream)).get("nonce") != nonce:
                raise GuestBroken("the agent answered something else")

    async def sync(self, *, timeout_s: float) -> None:
        """Write everything to the disk."""
        async with self._call("sync", {}, timeout_s) as stream:
            await result(stream)

    async def run(self, command: Command) -> CommandResult:
        """Run a command; see `Machines.run`."""
        fields = {"timeout_s": command.timeout_s, "limit_bytes": command.output_limit_bytes}
        async with self._call("run", fields, command.timeout_s + GRACE_S) as stream:
            await send(stream, command.text.encode(errors="surrogateescape"))
            output = await collect(stream, command.output_limit_bytes)
            answer = await result(stream)
        total = number(answer, "output_bytes")
        status = None if answer.get("exit_status", 0) is None else number(answer, "exit_status")
        if total < len(output) or (status is not None and status > 255):
            raise GuestBroken("a command's result cannot be")
        ended = Ended.TIMED_OUT if status is None else Ended.EXITED
        return CommandResult(ended=ended, exit_status=status, output=output, output_bytes=total)

    async def read(self, path: str, *, offset_bytes: int, limit_bytes: int) -> FileSlice:
        """Read a part of a file; see `Machines.read`."""
        fields = {"path": path, "offset_bytes": offset_bytes, "limit_bytes": limit_bytes}
        async with self._call("read", fields, ANSWER_S) as stream:
            content = await collect(stream, limit_bytes)
            size = number(await result(stream), "size_bytes")
        # Files under /proc say that they are empty and are not; others may grow while they are read.
        return FileSlice(content=content, offset_bytes=offset_bytes, size_bytes=max(size, offset_bytes + len(content)))

    async def write(self, path: str, content: bytes) -> None:
        """Write a whole file; see `Machines.write`."""
        async with self._call("write", {"path": path}, ANSWER_S) as stream:
            await send(stream, content)
            await result(stream)

    async def search(self, pattern: str, path: str, *, limit: int) -> SearchResult:
        """Search file contents; see `Machines.search`."""
        async with self._call("search", {"pattern": pattern, "path": path, "limit": limit}, ANSWER_S) as stream:
            lines = (await collect(stream, limit * MATCH_BYTES)).splitlines()
            more = (await result(stream)).get("more") is True
        if len(lines) > limit:
            raise GuestBroken("a search found more than it was asked for")
        return SearchResult(matches=tuple(match_of(line) for line in lines), more=more)

    async def archive(self, path: str, *, limit_bytes: int) -> AsyncGenerator[bytes, None]:
        """Stream a folder as a tar; see `Machines.archive`. Each piece may take a minute."""
        left = limit_bytes
        async with self._call("archive", {"path": path, "limit_bytes": limit_bytes}, None) as stream:
            while (piece := await soon(stream.receive)) is not None:
                left -= len(piece)
                if left < 0:
                    raise GuestBroken("an archive is larger than its limit")
                yield piece
            await soon(lambda: result(stream))

    @asynccontextmanager
    async def connect(self, port: int) -> AsyncIterator[Stream]:
        """Open a connection to a port inside. The stream is at once there; `result` tells how it ended."""
        async with self._call("connect", {"port": port}, None) as stream:
            yield stream

    @asynccontextmanager
    async def _call(self, name: str, fields: Fields, timeout_s: float | None) -> AsyncIterator[Stream]:
        request = json.dumps({"call": name, **fields}).encode()
        if len(request) > REQUEST_LIMIT_BYTES:
            raise Invalid("That is too long for a path or a pattern.")
        try:
            async with asyncio.timeout(timeout_s):
                stream = await self._link.open(request)
                try:
                    yield stream
                finally:
                    # A machine that takes nothing any more must not hold up whoever leaves.
                    with contextlib.suppress(TimeoutError, LinkClosed):
                        async with asyncio.timeout(CANCEL_S):
                            await stream.cancel()
        except LinkClosed as error:
            raise GuestBroken("the machine stopped") from error
        except TimeoutError as error:
            raise GuestBroken("the machine does not answer") from error


async def send(stream: Stream, content: bytes) -> None:
    """Send bytes and their end. An agent that refuses before it has them all says why in its result."""
    with contextlib.suppress(LinkClosed):
        await stream.send(content)
        await stream.end()


async def collect(stream: Stream, limit_bytes: int) -> bytes:
    """Receive at most a limit. Raises `GuestBroken` if more comes."""
    content = bytearray()
    while (piece := await stream.receive()) is not None:
        content += piece
        if len(content) > limit_bytes:
            raise GuestBroken("more came than was asked for")
    return bytes(content)


async def result(stream: Stream) -> Fields:
    """Wait for a call's result. Raises what the agent refused it with, in words of the host's own."""
    frame = await stream.final()
    fields = fields_of(frame)
    if frame.kind is Kind.RESULT:
        return fields
    try:
        reason = Reason(fields.get("reason", ""))
    except ValueError as error:
        raise GuestBroken("the agent refused for no known reason") from error
    kind, words = WORDS[reason]
    detail = fields.get("detail")
    if reason is Reason.BAD_PATTERN and isinstance(detail, str):
        words = f"{words}: {printable(detail, 500)}"
    raise kind(words, internal=f"the agent refused: {reason.value}")


async def soon(step: Callable[[], Awaitable[T]]) -> T:
    """Wait for one step of a long call, which has no time limit as a whole."""
    async with asyncio.timeout(ANSWER_S):
        return await step()


def fields_of(frame: Frame) -> Fields:
    """Parse a result. Raises `GuestBroken`."""
    try:
        fields = json.loads(frame.payload)
    except (ValueError, RecursionError) as error:
        raise GuestBroken("a result is not JSON") from error
    if not isinstance(fields, dict):
        raise GuestBroken("a result is not an object")
    return fields


def number(fields: Fields, name: str) -> int:
    """Return a whole number that is not negative. Raises `GuestBroken`."""
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise GuestBroken("a result has a number that cannot be")
    return value


def match_of(line: bytes) -> Match:
    """Parse one match of a search. Raises `GuestBroken`."""
    try:
        path, where, text = json.loads(line)
    except (ValueError, TypeError, RecursionError) as error:
        raise GuestBroken("a match cannot be read") from error
    if not (isinstance(path, str) and isinstance(text, str)):
        raise GuestBroken("a match cannot be read")
    return Match(path=path[:PATH_LIMIT], line=number({"line": where}, "line"), text=text[:MATCH_TEXT])


def printable(text: str, limit: int) -> str:
    """Keep what can be shown on a line or several of them."""
    return "".join(character for character in text[:limit] if character.isprintable() or character == "\n").strip()
