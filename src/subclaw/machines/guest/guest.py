"""The host's end of a machine: calls to the agent. Whatever comes back is bounded, parsed strictly and timed out."""

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from subclaw.core.errors import Invalid, SubclawError
from subclaw.core.house import Waiting
from subclaw.core.machine import Command, CommandEnd, CommandResult, FileSlice, Output, SearchResult, result_of
from subclaw.machines.guest.answers import Fields, GuestBroken, command_end, match_of, number, refusal, result, seconds
from subclaw.machines.guest.houses import LIMITS, RECORDS_LIMIT_BYTES, Seen, files_of, refused_of, signature_of
from subclaw.machines.guest.identity import TOLD, Identity, SetUp, Told, check_clock, check_nonce, set_up_of
from subclaw_guest.frames import MAX_PAYLOAD_BYTES
from subclaw_guest.house import record
from subclaw_guest.link import Link, LinkClosed, Stream, StreamCancelled
from subclaw_guest.occupation import CLAIM_LIMIT_S

ANSWER_S = 60.0
"""How long the agent may take for a call that has no time limit of its own: a machine may be busy, or slow."""
HOUSE_S = 20.0
"""How long the agent may take with a house, at which it itself gives up earlier."""
GRACE_S = 30.0
CANCEL_S = 2.0
MATCH_BYTES = 8_192
REQUEST_LIMIT_BYTES = MAX_PAYLOAD_BYTES // 2
PROCESSES_LIMIT = 2**22
"""The most process ids that Linux has (proc(5), pid_max)."""
T = TypeVar("T")

__all__ = ["Guest", "GuestBroken", "Occupation", "result"]


@dataclass(frozen=True, kw_only=True)
class Occupation:
    """What keeps a machine busy: the tenant's own processes, and a claim to be kept awake for `claim_s` more."""

    processes: int
    claim_s: float


class Guest:
    """Calls to one machine's agent. Every method raises `GuestBroken`, and the errors that its port names."""

    def __init__(self, link: Link, *, told: Told = TOLD) -> None:
        self._link = link
        self._told = told

    @property
    def last_number(self) -> int:
        """The number of the last call, with which a link that goes on with this agent begins; see `Link`."""
        return self._link.last_number

    async def ping(self, *, timeout_s: float) -> None:
        """Wait until the agent answers."""
        nonce = secrets.token_hex(16)
        async with self._call("ping", {"nonce": nonce}, timeout_s) as stream:
            check_nonce(await result(stream), nonce)

    async def rehearse(self, *, timeout_s: float) -> None:
        """Have a waiting machine go through a set-up and a command, so that it is quicker with them afterwards."""
        nonce = secrets.token_hex(16)
        async with self._call("rehearse", {"nonce": nonce}, timeout_s) as stream:
            answer = await result(stream)
        check_nonce(answer, nonce)
        if answer.get("worked") is not True:
            raise GuestBroken("a rehearsal failed")

    async def set_up(self, identity: Identity, *, timeout_s: float) -> SetUp:
        """Make the waiting machine a tenant's: clock, entropy, names, disk, whom it trusts. The agent must be there.

        Errors: `Corrupt` if the disk is damaged and cannot be mended.
        """
        nonce = secrets.token_hex(16)
        fields = {
            **fresh(nonce, identity.entropy),
            "hostname": identity.hostname,
            "boot_id": identity.boot_id,
            "machine_id": identity.machine_id,
            "authority": identity.authority,
        }
        async with self._call("setup", fields, timeout_s) as stream:
            return set_up_of(await result(stream), identity, nonce, self._told)

    async def resume(self, authority: str = "", *, timeout_s: float) -> None:
        """Set the clock of a machine that slept with its memory, give it new entropy, and tell it whom to trust."""
        nonce = secrets.token_hex(16)
        fields = {**fresh(nonce, secrets.token_bytes(64)), "authority": authority}
        async with self._call("resume", fields, timeout_s) as stream:
            answer = await result(stream)
        check_nonce(answer, nonce)
        check_clock(answer)

    async def occupation(self, *, timeout_s: float) -> Occupation:
        """Ask what keeps the machine busy beside the host's calls."""
        async with self._call("occupation", {}, timeout_s) as stream:
            answer = await result(stream)
        processes = number(answer, "processes")
        if processes > PROCESSES_LIMIT:
            raise GuestBroken("a machine has more processes than there can be")
        return Occupation(processes=processes, claim_s=seconds(answer, "claim_s", CLAIM_LIMIT_S))

    async def sync(self, *, timeout_s: float) -> None:
        """Write everything to the disk."""
        async with self._call("sync", {}, timeout_s) as stream:
            await result(stream)

    async def freeze(self, *, timeout_s: float) -> None:
        """Let the disk be as it is now: its next mount has nothing to recover. The machine must be ended then."""
        async with self._call("freeze", {}, timeout_s) as stream:
            await result(stream)

    async def run(self, command: Command) -> CommandResult:
        """Run a command; see `Machines.run`."""
        async with aclosing(self.exec(command)) as pieces:
            return await result_of(pieces)

    async def exec(self, command: Command) -> AsyncGenerator[Output | CommandEnd, None]:
        """Run a command and stream its output; see `Machines.exec`."""
        fields = {
            "timeout_s": command.timeout_s,
            "limit_bytes": command.output_limit_bytes,
            "environment": dict(command.environment),
        }
        deadline_s = time.monotonic() + command.timeout_s + GRACE_S
        head_left, tail = command.output_limit_bytes - command.output_limit_bytes // 2, bytearray()
        async with self._call("run", fields, None) as stream:
            await soon(lambda: send(stream, command.text.encode(errors="surrogateescape")))
            while (piece := await before(deadline_s, stream.receive)) is not None:
                head, rest = piece[:head_left], piece[head_left:]
                head_left -= len(head)
                tail += rest
                if len(tail) > command.output_limit_bytes // 2:
                    raise GuestBroken("a command put out more than its limit")
                if head:
                    yield Output(content=head)
            end = command_end(await before(deadline_s, lambda: result(stream)))
        kept_bytes = command.output_limit_bytes - command.output_limit_bytes // 2 - head_left + len(tail)
        if end.output_bytes < kept_bytes:
            raise GuestBroken("a command's result cannot be")
        if tail:
            yield Output(content=bytes(tail), left_out_bytes=end.output_bytes - kept_bytes)
        yield end

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

    async def house(self, known: str = "") -> Seen | None:
        """Return what is in the tenant's house; None if its signature is the known one.

        Errors: `NotFound` if there is no such folder, `Exhausted` if the tenant makes looking at it hang.
        """
        async with self._call("house", {"known": known, "limits": LIMITS}, HOUSE_S) as stream:
            content = await collect(stream, RECORDS_LIMIT_BYTES)
            signature = signature_of(await result(stream))
        return None if signature == known else Seen(signature=signature, files=files_of(content))

    async def furnish(self, files: Sequence[Waiting]) -> dict[str, SubclawError]:
        """Write files into the tenant's house, or remove them; return those that were refused, by path, and why.

        Errors: `Exhausted` if the tenant makes it hang.
        """
        async with self._call("furnish", {}, HOUSE_S) as stream:
            await send(stream, b"".join(record(file.path, file.content) for file in files))
            refused = refused_of(await result(stream), len(files))
        return {files[number].path: refusal(reason) for number, reason in refused.items()}

    @asynccontextmanager
    async def connect(self, port: int) -> AsyncIterator[Stream]:
        """Open a connection to a port inside. The stream is at once there; `result` tells how it ended."""
        async with self._call("connect", {"port": port}, None) as stream:
            yield stream

    async def until_listening(self, port: int, *, timeout_s: float) -> None:
        """Wait until a program listens on a port inside. Raises `NotListening` if none does in time.

        Errors: `Invalid` from an agent of an older image, which cannot wait.
        """
        fields = {"port": port, "timeout_s": timeout_s}
        async with self._call("listening", fields, timeout_s + ANSWER_S) as stream:
            await result(stream)

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
        except (LinkClosed, StreamCancelled) as error:
            raise GuestBroken("the machine stopped") from error
        except TimeoutError as error:
            raise GuestBroken("the machine does not answer") from error


def fresh(nonce: str, entropy: bytes) -> Fields:
    """Return what every copy of a machine's memory is told anew: the time of now, and secret bytes."""
    return {"nonce": nonce, "clock_ns": time.time_ns(), "entropy": entropy.hex()}


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


async def before(deadline_s: float, step: Callable[[], Awaitable[T]]) -> T:
    """Wait for a step of a call that has a time limit, which is not used up by a receiver that takes its time."""
    async with asyncio.timeout(max(GRACE_S, deadline_s - time.monotonic())):
        return await step()


async def soon(step: Callable[[], Awaitable[T]]) -> T:
    """Wait for one step of a long call, which has no time limit as a whole."""
    async with asyncio.timeout(ANSWER_S):
        return await step()
