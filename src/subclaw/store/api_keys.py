"""API keys. The operator makes and ends them; the application finds one by its hash, and never sees the others."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from subclaw.core.api_key import SHOWN_CHARACTERS, Principal, Scope, key_hash, read_scopes, signing_key
from subclaw.core.errors import NotFound
from subclaw.store.database import Database

_MAKE = """
    INSERT INTO api_key (name, shown, key_hash, verify_key, scopes, agents, per_minute, expires_at)
    VALUES (%s, %s, %s, %s, %s, %s, %s, now() + %s) RETURNING id
"""
_LISTED = """
    SELECT id, name, shown, scopes, agents, per_minute, created_at, expires_at, last_used_at,
           CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN expires_at <= now() THEN 'expired'
                WHEN replaced_by IS NOT NULL THEN 'rotated' ELSE 'good' END
    FROM api_key WHERE id < %s ORDER BY id DESC LIMIT %s
"""
_REVOKE = "UPDATE api_key SET revoked_at = now() WHERE id = %s AND revoked_at IS NULL RETURNING id"
_ROTATE = """
    WITH old AS (
        SELECT id, name, scopes, agents, per_minute, created_at, expires_at FROM api_key
        WHERE id = %s AND revoked_at IS NULL AND replaced_by IS NULL AND (expires_at IS NULL OR expires_at > now())
    ), new AS (
        INSERT INTO api_key (name, shown, key_hash, verify_key, scopes, agents, per_minute, expires_at)
        SELECT name, %s, %s, %s, scopes, agents, per_minute, now() + (expires_at - created_at) FROM old RETURNING id
    )
    UPDATE api_key k SET replaced_by = new.id, expires_at = least(k.expires_at, now() + %s)
    FROM old, new WHERE k.id = old.id RETURNING new.id
"""


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A key that was made, without what it is: `shown` is how it begins. `state`: good, rotated, expired, revoked."""

    id: int
    name: str
    shown: str
    scopes: tuple[str, ...]
    agents: tuple[str, ...]
    per_minute: int
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    state: str


@dataclass(frozen=True, kw_only=True)
class Used:
    """A key that is good, and how long its bearer has to wait first, since it was used too much: 0 mostly."""

    principal: Principal
    wait_s: float


async def make_key(
    operator: Database,
    key: str,
    *,
    name: str,
    scopes: Collection[Scope],
    agents: Collection[str],
    per_minute: int,
    life: timedelta | None,
) -> int:
    """Keep a new key, and return its number. The database is open in the operator's role, here and for the next two."""
    values = name, key[:SHOWN_CHARACTERS], key_hash(key), bytes(signing_key(key).verify_key)
    ((id,),) = await operator.rows(_MAKE, *values, sorted(scopes), sorted(agents), per_minute, life)
    return int(id)


async def listed(operator: Database, *, limit: int, before: int = 2**63 - 1) -> Sequence[ApiKey]:
    """Return the newest keys. Errors: `Unavailable`."""
    return [
        ApiKey(
            id=id,
            name=name,
            shown=shown,
            scopes=tuple(scopes),
            agents=tuple(agents),
            per_minute=per_minute,
            created_at=created_at,
            expires_at=expires_at,
            last_used_at=last_used_at,
            state=state,
        )
        for id, name, shown, scopes, agents, per_minute, created_at, expires_at, last_used_at, state in (
            await operator.rows(_LISTED, before, limit)
        )
    ]


async def revoke_key(operator: Database, id: int) -> None:
    """End a key at once, and all session tokens that were signed with it. Errors: `NotFound`, `Unavailable`."""
    if not await operator.rows(_REVOKE, id):
        raise NotFound(f"There is no key {id} that is not revoked yet.")


async def rotate_key(operator: Database, id: int, key: str, *, overlap: timedelta) -> int:
    """Keep a new key for all that an old one is for, and return its number; the old one is good for `overlap` more.

    The new one lives as long as the old one did. Errors: `NotFound`, `Unavailable`.
    """
    new = key[:SHOWN_CHARACTERS], key_hash(key), bytes(signing_key(key).verify_key)
    rows = await operator.rows(_ROTATE, id, *new, overlap)
    if not rows:
        raise NotFound(f"There is no key {id} that is good and was not rotated yet.")
    return int(rows[0][0])


async def use_key(database: Database, key: str) -> Used | None:
    """Return what a key may, and count that it is used; None if it is not good. Errors: `Unavailable`."""
    for id, scopes, agents, wait_s in await database.rows("SELECT * FROM use_api_key(%s)", key_hash(key)):
        principal = Principal(key_id=id, scopes=read_scopes(scopes), agents=frozenset(agents))
        return Used(principal=principal, wait_s=wait_s)
    return None


async def verifier(database: Database, key_id: int) -> tuple[bytes, Principal] | None:
    """Return what checks session tokens of a key, and what it may; None if it is not good. Errors: `Unavailable`."""
    for verify_key, scopes, agents in await database.rows("SELECT * FROM api_key_verifier(%s)", key_id):
        return verify_key, Principal(key_id=key_id, scopes=read_scopes(scopes), agents=frozenset(agents))
    return None
