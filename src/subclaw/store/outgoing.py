"""Files that go out: kept until they have arrived, and for whoever has the link to one."""

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

from subclaw.core.errors import NotFound
from subclaw.core.outgoing import KEPT_DAYS, KEPT_LIMIT_BYTES, OutgoingFile
from subclaw.core.tenant import TenantId
from subclaw.store.database import Database
from subclaw.store.events import storable

PIECE_BYTES = 1024 * 1024
_AGE = timedelta(days=KEPT_DAYS)
_ID_BYTES = 20


@dataclass(frozen=True, kw_only=True)
class LinkedFile:
    """A file as it is found by its link. `pieces` reads the content, piece by piece; one that is forgotten ends."""

    name: str
    media_type: str
    size_bytes: int
    pieces: AsyncIterator[bytes]


async def keep_file(
    database: Database, tenant_id: TenantId, *, name: str, title: str, media_type: str, content: bytes
) -> OutgoingFile:
    """Keep a file that is to go out; the tenant's oldest may be forgotten for it."""
    file = OutgoingFile(
        id=secrets.token_hex(_ID_BYTES),
        name=storable(name),
        title=storable(title),
        media_type=media_type,
        size_bytes=len(content),
    )
    await database.rows(
        "SELECT keep_file(%s, %s, %s, %s, %s, %s, %s)",
        tenant_id,
        file.id,
        file.name,
        media_type,
        content,
        _AGE,
        KEPT_LIMIT_BYTES,
    )
    return file


async def file_content(database: Database, tenant_id: TenantId, id: str) -> bytes | None:
    """Return the content of a tenant's file; None if it is not kept any more."""
    ((content,),) = await database.rows("SELECT file_content(%s, %s)", tenant_id, id)
    return None if content is None else bytes(content)


async def open_file(database: Database, id: str) -> LinkedFile:
    """Return the file of a link. Errors: `NotFound` if there is none, or none any more."""
    rows = await database.rows("SELECT * FROM open_file(%s, %s)", id, _AGE)
    if not rows:
        raise NotFound("There is no such file, or it is not kept any more.")
    ((name, media_type, size_bytes),) = rows
    return LinkedFile(name=name, media_type=media_type, size_bytes=size_bytes, pieces=_pieces(database, id, size_bytes))


async def _pieces(database: Database, id: str, size_bytes: int) -> AsyncIterator[bytes]:
    for offset in range(0, size_bytes, PIECE_BYTES):
        ((piece,),) = await database.rows("SELECT file_piece(%s, %s, %s)", id, offset, PIECE_BYTES)
        if not piece:
            return
        yield bytes(piece)
