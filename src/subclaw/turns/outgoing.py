"""Files that go out: taken from the tenant's machine while the turn runs that made them, and kept.

So the agent hears of what cannot be sent, nothing wakes the machine when a reply is sent, and what is sent is what the
agent meant: later changes of the file, and taking the turn back, change nothing about it.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from subclaw.core.attachment import media_type_of
from subclaw.core.channel import Address, Channel, SendsFiles
from subclaw.core.errors import Invalid, NotFound, SubclawError
from subclaw.core.machine import FileSlice
from subclaw.core.outgoing import FILES_LIMIT, FILES_LIMIT_BYTES, FilesTaken, FileTaken, problem_of
from subclaw.core.tenant import TenantId
from subclaw.store.database import Database
from subclaw.store.outgoing import keep_file

log = logging.getLogger(__name__)

_SLICE_BYTES = 4 * 1024 * 1024
_MEBIBYTE = 1024 * 1024


class ReadsFiles(Protocol):
    """Tenants' machines, as far as they are read."""

    async def read(self, tenant_id: TenantId, path: str, *, offset_bytes: int, limit_bytes: int) -> FileSlice:
        """See `core.machine.Machines.read`."""
        ...


@dataclass(frozen=True, kw_only=True)
class OutgoingFiles:
    """See `core.outgoing.TakesFiles`.

    `has_links` says whether the world can reach this host, so that people get links to what a channel does not send;
    those who are at the web chat can in any case.
    """

    database: Database
    files: ReadsFiles
    channels: Mapping[str, Channel]
    has_links: bool

    async def take(self, tenant_id: TenantId, to: Address, wanted: Mapping[str, str]) -> FilesTaken:
        """Take files; see `core.outgoing.TakesFiles.take`."""
        left_bytes, taken = FILES_LIMIT_BYTES, []
        for number, (path, title) in enumerate(wanted.items()):
            try:
                if number >= FILES_LIMIT:
                    raise Invalid(f"{FILES_LIMIT} files at once are the most")
                content, media_type = await self._sendable(tenant_id, to, path, left_bytes)
            except SubclawError as error:
                log.warning("a file that was to go out was not taken: %s", error.internal)
                taken.append(FileTaken(path=path, problem=_words(error)))
                continue
            left_bytes -= len(content)
            name = path.rpartition("/")[2]
            file = await keep_file(
                self.database, tenant_id, name=name, title=title, media_type=media_type, content=content
            )
            taken.append(FileTaken(path=path, file=file))
        return FilesTaken(taken=tuple(taken))

    async def _sendable(self, tenant_id: TenantId, to: Address, path: str, limit_bytes: int) -> tuple[bytes, str]:
        """Return a file's content, and what it is. Errors: `Invalid` if it cannot be sent, and those of the machine."""
        if problem := problem_of(path):
            raise Invalid(problem)
        content = await self._read(tenant_id, path, limit_bytes)
        media_type = media_type_of(content)
        channel = self.channels.get(to.channel)
        takes = isinstance(channel, SendsFiles) and channel.takes(to, media_type, len(content))
        if channel is not None and not takes and not self.has_links:  # one that is read in place shows files itself
            raise Invalid("such files cannot be sent in this channel")
        return content, media_type

    async def _read(self, tenant_id: TenantId, path: str, limit_bytes: int) -> bytes:
        content = bytearray()
        while True:
            limit = min(_SLICE_BYTES, limit_bytes + 1 - len(content))
            part = await self.files.read(tenant_id, path, offset_bytes=len(content), limit_bytes=limit)
            content += part.content
            if max(part.size_bytes, len(content)) > limit_bytes:
                size = f"{part.size_bytes / _MEBIBYTE:,.1f} MB"
                raise Invalid(f"it has {size}, and all files together may have {FILES_LIMIT_BYTES // _MEBIBYTE} MB")
            if not part.content or len(content) >= part.size_bytes:
                break
        if not content:
            raise Invalid("it is empty")
        return bytes(content)


def _words(error: SubclawError) -> str:
    return error.public.rstrip(".") if isinstance(error, Invalid | NotFound) else "it could not be read just now"
