"""Invite codes, as the operator sees them. The database is open in the operator's role; codes are kept as hashes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from subclaw.core.onboarding import invite_hash
from subclaw.store.database import Database

_MAKE = "INSERT INTO invite (code_hash, note, uses, expires_at) VALUES (%s, %s, %s, now() + %s) RETURNING id"
_LISTED = """
    SELECT id, note, uses, used, created_at, expires_at,
           CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN used = uses THEN 'used up'
                WHEN expires_at <= now() THEN 'expired' ELSE 'open' END
    FROM invite ORDER BY id DESC LIMIT %s
"""


@dataclass(frozen=True, kw_only=True)
class Invite:
    """A code that was made. `state` is `open`, `used up`, `expired` or `revoked`."""

    id: int
    note: str
    uses: int
    used: int
    created_at: datetime
    expires_at: datetime
    state: str


async def make(operator: Database, code: str, *, note: str, uses: int, life: timedelta) -> int:
    """Keep a new code, and return its number. Errors: `Unavailable`."""
    ((id,),) = await operator.rows(_MAKE, invite_hash(code), note, uses, life)
    return int(id)


async def listed(operator: Database, *, limit: int) -> Sequence[Invite]:
    """Return the newest codes, without what they are. Errors: `Unavailable`."""
    return [
        Invite(id=id, note=note, uses=uses, used=used, created_at=created_at, expires_at=expires_at, state=state)
        for id, note, uses, used, created_at, expires_at, state in await operator.rows(_LISTED, limit)
    ]


async def revoke(operator: Database, id: int) -> bool:
    """End a code; false if there is none of that number that was not ended before. Errors: `Unavailable`."""
    ((revoked,),) = await operator.rows("SELECT revoke_invite(%s)", id)
    return bool(revoked)
