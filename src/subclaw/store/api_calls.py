"""Calls of the API that may be made again: what they were answered, by the key's bearer and their own name of it."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from subclaw.core.tenant import TenantId
from subclaw.store.database import Database

KEPT_FOR = timedelta(hours=24)
ABANDONED_AFTER = timedelta(minutes=15)
"""After so long without an answer whoever was at work on a call is taken for dead; no call lasts that long."""


class Outcome(StrEnum):
    """What was found when a call was begun: nothing, its answer, another call of that name, the same one under way."""

    BEGUN = "begun"
    KEPT = "kept"
    OTHER = "other"
    BUSY = "busy"


@dataclass(frozen=True, kw_only=True)
class Begun:
    """How a call began; the answer is there if the outcome is `KEPT`."""

    outcome: Outcome
    status: int = 0
    body: bytes = b""


async def begin_call(database: Database, key_id: int, name: str, request_hash: bytes) -> Begun:
    """Begin a call, or find it. Errors: `Unavailable`."""
    values = key_id, name, request_hash, KEPT_FOR, ABANDONED_AFTER
    ((outcome, status, body),) = await database.rows("SELECT * FROM begin_api_call(%s, %s, %s, %s, %s)", *values)
    return Begun(outcome=Outcome(outcome), status=status or 0, body=body or b"")


async def end_call(
    database: Database, key_id: int, name: str, *, status: int, body: bytes, tenant_id: TenantId | None
) -> None:
    """Keep what a call was answered; with a tenant it goes when that goes. Errors: `Unavailable`."""
    await database.rows("SELECT end_api_call(%s, %s, %s, %s, %s)", key_id, name, status, body, tenant_id)


async def forget_call(database: Database, key_id: int, name: str) -> None:
    """Forget that a call was begun, so that it can be made again. Errors: `Unavailable`."""
    await database.rows("SELECT end_api_call(%s, %s, NULL, NULL, NULL)", key_id, name)
