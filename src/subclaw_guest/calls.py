"""What the host may ask of a machine: each call takes its stream and the fields of its request, and returns a result's.

What a request holds has been checked by the host; a field that is not there is its mistake, which it is told of.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

from subclaw_guest import setup
from subclaw_guest.archive import archive
from subclaw_guest.commands import TEXT_LIMIT_BYTES, run
from subclaw_guest.connect import connect, until_listening
from subclaw_guest.disk import freeze
from subclaw_guest.files import Replacement, read
from subclaw_guest.house import Limits, look, put
from subclaw_guest.identity import Identity, proof, refresh
from subclaw_guest.lane import Lane
from subclaw_guest.link import Stream
from subclaw_guest.occupation import claim_s, count_processes
from subclaw_guest.processes import HOME, Processes
from subclaw_guest.refusals import Reason, Refused
from subclaw_guest.rehearsal import rehearse
from subclaw_guest.search import encode, search
from subclaw_guest.services import Services

READ_BYTES = 262_144
FURNITURE_BYTES = 4 * 1024**2
Fields = dict[str, Any]
"""The JSON object of a request or a result: the host checks what it sends, and trusts nothing that it gets."""
Call = Callable[[Stream, Fields], Awaitable[Fields]]


class Calls:
    """All calls by their names, in `by_name`."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._lane = Lane()
        self._services = Services(processes)
        self.by_name: dict[str, Call] = {
            "ping": self._ping,
            "rehearse": self._rehearse,
            "setup": self._setup,
            "resume": self._resume,
            "occupation": self._occupation,
            "sync": self._sync,
            "freeze": self._freeze,
            "run": self._run,
            "read": self._read,
            "write": self._write,
            "search": self._search,
            "archive": self._archive,
            "connect": self._connect,
            "listening": self._listening,
            "house": self._house,
            "furnish": self._furnish,
        }

    async def _ping(self, stream: Stream, fields: Fields) -> Fields:
        return {"nonce": fields["nonce"]}

    async def _rehearse(self, stream: Stream, fields: Fields) -> Fields:
        return {"nonce": fields["nonce"], "worked": await rehearse(self._processes)}

    async def _setup(self, stream: Stream, fields: Fields) -> Fields:
        identity = Identity(
            hostname=fields["hostname"],
            clock_ns=fields["clock_ns"],
            entropy=bytes.fromhex(fields["entropy"]),
            boot_id=fields["boot_id"],
            machine_id=fields["machine_id"],
            authority=fields["authority"],
        )
        # A machine is made a tenant's once, and has nothing to rehearse then.
        del self.by_name["setup"], self.by_name["rehearse"]
        repaired = await setup.enter(self._processes, identity)
        self._services.start()
        return {"nonce": fields["nonce"], "repaired": repaired, **proof()}

    async def _resume(self, stream: Stream, fields: Fields) -> Fields:
        refresh(fields["clock_ns"], bytes.fromhex(fields["entropy"]))
        setup.accept(self._processes, fields["authority"])
        return {"nonce": fields["nonce"], "clock_ns": time.time_ns()}

    async def _occupation(self, stream: Stream, fields: Fields) -> Fields:
        commands = self._processes.under_way() - self._services.sessions
        return {"processes": count_processes(commands), "claim_s": claim_s()}

    async def _sync(self, stream: Stream, fields: Fields) -> Fields:
        await asyncio.to_thread(os.sync)
        return {}

    async def _freeze(self, stream: Stream, fields: Fields) -> Fields:
        await asyncio.to_thread(freeze, HOME)
        return {}

    async def _run(self, stream: Stream, fields: Fields) -> Fields:
        text = await whole(stream, TEXT_LIMIT_BYTES)
        status, total_bytes = await run(
            self._processes,
            text,
            stream.send,
            timeout_s=fields["timeout_s"],
            limit_bytes=fields["limit_bytes"],
            environment=fields["environment"],
        )
        return {"exit_status": status, "output_bytes": total_bytes}

    async def _read(self, stream: Stream, fields: Fields) -> Fields:
        offset, limit = fields["offset_bytes"], fields["limit_bytes"]
        while True:
            piece, size = await asyncio.to_thread(read, fields["path"], offset, min(limit, READ_BYTES))
            if not piece:
                return {"size_bytes": size}
            await stream.send(piece)
            offset += len(piece)
            limit -= len(piece)

    async def _write(self, stream: Stream, fields: Fields) -> Fields:
        replacement = await asyncio.to_thread(Replacement, fields["path"])
        try:
            while (piece := await stream.receive()) is not None:
                await asyncio.to_thread(replacement.add, piece)
            await asyncio.to_thread(replacement.commit)
        finally:
            replacement.close()
        return {}

    async def _search(self, stream: Stream, fields: Fields) -> Fields:
        found = await search(self._processes, fields["pattern"], fields["path"], fields["limit"])
        await stream.send(encode(found))
        return {"more": found.more}

    async def _archive(self, stream: Stream, fields: Fields) -> Fields:
        return {"size_bytes": await archive(self._processes, stream, fields["path"], fields["limit_bytes"])}

    async def _connect(self, stream: Stream, fields: Fields) -> Fields:
        await connect(stream, fields["port"])
        return {}

    async def _listening(self, stream: Stream, fields: Fields) -> Fields:
        await until_listening(fields["port"], fields["timeout_s"])
        return {}

    async def _house(self, stream: Stream, fields: Fields) -> Fields:
        signature, content = await self._lane.run(look, fields["known"], Limits(**fields["limits"]))
        await stream.send(content)
        return {"signature": signature}

    async def _furnish(self, stream: Stream, fields: Fields) -> Fields:
        return {"refused": await self._lane.run(put, await whole(stream, FURNITURE_BYTES))}


async def whole(stream: Stream, limit_bytes: int) -> bytes:
    """Receive everything. Raises `Refused` if it is more than a limit."""
    content = bytearray()
    while (piece := await stream.receive()) is not None:
        content += piece
        if len(content) > limit_bytes:
            raise Refused(Reason.TOO_LARGE)
    return bytes(content)
