"""Houses in the database: the hosts' mirror of them, and what a turn reads of its tenant's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg.types.json import Jsonb

from subclaw.core.errors import Exhausted
from subclaw.core.house import (
    FILES_LIMIT,
    HOUSE_LIMIT_BYTES,
    HouseFile,
    Owed,
    StoredFile,
    Waiting,
)
from subclaw.core.machine import BEFORE_ROLL_BACK
from subclaw.core.tenant import TenantId
from subclaw.store.database import Database

CHECKPOINTS_KEPT = 3
"""As many as of a disk."""

_KEEP = "SELECT keep_house(%s, %s, %s::text[], %s::bytea[], %s::text[], %s)"
_FULL = f"Your agent's files may be {FILES_LIMIT}, and {HOUSE_LIMIT_BYTES // 1024} KiB together. Remove some first."


@dataclass(frozen=True, kw_only=True)
class Marks:
    """Fingerprints of defaults, by path: those that were laid in a tenant's machine, and those that it was shown."""

    laid: Mapping[str, str]
    shown: Mapping[str, str]


class StoreMirror:
    """See `core.house.Mirror`. The database is open in the host's role."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def owed(self, tenant_id: TenantId, *, is_new: bool) -> Owed:
        """See `core.house.Mirror.owed`."""
        rows = await self._database.rows(
            "SELECT laid, note, paths, contents FROM owed_house(%s, %s)", tenant_id, is_new
        )
        if not rows:
            return Owed(waiting=(), laid={}, note="")
        ((laid, note, paths, contents),) = rows
        waiting = (Waiting(path=path, content=content) for path, content in zip(paths, contents, strict=True))
        return Owed(waiting=tuple(waiting), laid=laid, note=note)

    async def keep(
        self, tenant_id: TenantId, files: Sequence[HouseFile], *, laid: Mapping[str, str], settled: Mapping[str, str]
    ) -> None:
        """See `core.house.Mirror.keep`."""
        paths = [file.path for file in files]
        contents = [file.content for file in files]
        problems = [file.problem for file in files]
        laid_now, done = Jsonb(dict(laid)), Jsonb(dict(settled))
        await self._database.rows(_KEEP, tenant_id, laid_now, paths, contents, problems, done)

    async def rest(self, tenant_id: TenantId, note: str) -> None:
        """See `core.house.Mirror.rest`."""
        await self._database.rows("SELECT rest_house(%s, %s)", tenant_id, note)

    async def write(self, tenant_id: TenantId, path: str, content: bytes | None) -> None:
        """See `core.house.Mirror.write`."""
        ((has_room,),) = await self._database.rows(
            "SELECT write_house(%s, %s, %s::bytea, %s, %s)", tenant_id, path, content, FILES_LIMIT, HOUSE_LIMIT_BYTES
        )
        if not has_room:
            raise Exhausted(_FULL)

    async def keep_checkpoint(self, tenant_id: TenantId, label: str) -> None:
        """See `core.house.Mirror.keep_checkpoint`."""
        await self._database.rows("SELECT keep_house_checkpoint(%s, %s, %s)", tenant_id, label, CHECKPOINTS_KEPT)

    async def roll_back(self, tenant_id: TenantId, label: str) -> None:
        """See `core.house.Mirror.roll_back`."""
        await self._database.rows(
            "SELECT roll_back_house(%s, %s, %s, %s)", tenant_id, label, BEFORE_ROLL_BACK, CHECKPOINTS_KEPT
        )


async def read_house(database: Database, tenant_id: TenantId) -> tuple[StoredFile, ...]:
    """Return what the mirror has of a tenant's house, in the order of paths.

    A default that is as it was laid is not among it; one that the tenant has removed is, without content and problem.
    The database is open in the application's role, here and below.
    """
    rows = await database.rows("SELECT path, content, problem, served, is_waiting FROM read_house(%s)", tenant_id)
    return tuple(
        StoredFile(path=path, content=content, problem=problem, served=served, is_waiting=is_waiting)
        for path, content, problem, served, is_waiting in rows
    )


async def read_revision(database: Database, tenant_id: TenantId) -> int | None:
    """Return how often a tenant's house has changed; None if there is none yet.

    Ask before the files are read: then these are of that revision, or `serve_house` finds that it is over.
    """
    ((revision,),) = await database.rows("SELECT house_revision(%s)", tenant_id)
    return None if revision is None else int(revision)


async def read_marks(database: Database, tenant_id: TenantId) -> Marks:
    """Return what is known of the defaults that a tenant had."""
    for laid, shown in await database.rows("SELECT laid, shown FROM read_marks(%s)", tenant_id):
        return Marks(laid=laid, shown=shown)
    return Marks(laid={}, shown={})


async def note_shown(database: Database, tenant_id: TenantId, shown: Mapping[str, str]) -> None:
    """Note the fingerprints of defaults that a tenant was shown beside its own files, by path."""
    await database.rows("SELECT note_shown(%s, %s)", tenant_id, Jsonb(dict(shown)))


async def serve_house(database: Database, tenant_id: TenantId, revision: int, paths: Sequence[str]) -> None:
    """Have the content that the files at these paths have now be the last that could be used.

    Nothing happens if the house is not at that revision any more.
    """
    await database.rows("SELECT serve_house(%s, %s, %s::text[])", tenant_id, revision, list(paths))
