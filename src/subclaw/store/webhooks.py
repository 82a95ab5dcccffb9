"""Webhooks that go out: their endpoints, which the operator's role keeps, and the deliveries, which workers claim."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from subclaw.core.webhook import PATIENCE
from subclaw.store.database import Database

CLAIM_LIMIT = 20
HOLD = timedelta(seconds=60)
"""For how long a delivery is whoever's who claimed it: longer than a try may take."""
ENDPOINTS_LIMIT = 50

_MAKE = """
    INSERT INTO webhook_endpoint (id, agent, url, events, sealed)
    SELECT %s, %s, %s, %s, %s WHERE (SELECT count(*) FROM webhook_endpoint) < %s RETURNING created_at
"""
_LISTED = """
    SELECT id, agent, url, events, created_at, failing_since, disabled_at, disabled_because FROM webhook_endpoint
    WHERE (cardinality(%s::text[]) = 0 OR agent = ANY (%s::text[])) AND (%s::text = '' OR id = %s) AND id > %s
    ORDER BY id LIMIT %s
"""
_ENABLE = """
    UPDATE webhook_endpoint SET disabled_at = NULL, disabled_because = '', failing_since = NULL WHERE id = %s
"""
_DELIVERIES = """
    SELECT id, type, state, attempts, created_at, send_at, detail FROM webhook_delivery
    WHERE endpoint_id = %s AND (%s::text = '' OR state = %s) ORDER BY created_at DESC, id LIMIT %s
"""
_AGAIN = """
    UPDATE webhook_delivery SET state = 'queued', attempts = 0, send_at = now(), claimed_until = NULL
    WHERE id = %s AND endpoint_id = %s AND state = 'dead' RETURNING id
"""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where webhooks go; of all agents, if `agent` is empty."""

    id: str
    agent: str
    url: str
    events: Sequence[str]
    created_at: datetime
    failing_since: datetime | None
    disabled_at: datetime | None
    disabled_because: str


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One webhook to one endpoint. `state` is queued, sent or dead."""

    id: str
    type: str
    state: str
    attempts: int
    created_at: datetime
    send_at: datetime
    detail: str


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A delivery that is to be tried now, for the `attempt`th time."""

    id: str
    url: str
    endpoint: str
    sealed: bytes
    body: str
    attempt: int


async def make_endpoint(
    operator: Database, id: str, *, agent: str, url: str, events: Collection[str], sealed: bytes
) -> datetime | None:
    """Make an endpoint; None if there are too many. In the operator's role, here and below until `claim`."""
    rows = await operator.rows(_MAKE, id, agent, url, sorted(events), sealed, ENDPOINTS_LIMIT)
    return rows[0][0] if rows else None


async def endpoints(
    operator: Database, agents: Collection[str], *, id: str = "", after: str = "", limit: int = ENDPOINTS_LIMIT
) -> Sequence[Endpoint]:
    """Return endpoints, by their ids. Errors: `Unavailable`."""
    names = "id agent url events created_at failing_since disabled_at disabled_because".split()
    rows = await operator.rows(_LISTED, list(agents), list(agents), id, id, after, limit)
    return [Endpoint(**dict(zip(names, row, strict=True))) for row in rows]


async def remove_endpoint(operator: Database, id: str) -> None:
    """Remove an endpoint, with what was to go there. Errors: `Unavailable`."""
    await operator.rows("DELETE FROM webhook_endpoint WHERE id = %s", id)


async def enable_endpoint(operator: Database, id: str) -> None:
    """Have webhooks go to an endpoint again; those that wait go at once. Errors: `Unavailable`."""
    await operator.rows(_ENABLE, id)


async def deliveries(operator: Database, endpoint: str, *, state: str, limit: int) -> Sequence[Delivery]:
    """Return what went to an endpoint or is to, the newest first. Errors: `Unavailable`."""
    names = "id type state attempts created_at send_at detail".split()
    rows = await operator.rows(_DELIVERIES, endpoint, state, state, limit)
    return [Delivery(**dict(zip(names, row, strict=True))) for row in rows]


async def deliver_again(operator: Database, endpoint: str, id: str) -> bool:
    """Have a dead delivery tried again; false if there is none. Errors: `Unavailable`."""
    return bool(await operator.rows(_AGAIN, id, endpoint))


async def claim(database: Database) -> Sequence[Claimed]:
    """Claim what is due. In the application's role, as the next one. Errors: `Unavailable`."""
    names = "id url endpoint sealed body attempt".split()
    rows = await database.rows("SELECT * FROM claim_webhooks(%s, %s)", CLAIM_LIMIT, HOLD)
    return [Claimed(**dict(zip(names, row, strict=True))) for row in rows]


async def settle(
    database: Database, claimed: Claimed, *, sent: bool, retry_s: float | None, detail: str, gone: bool
) -> None:
    """Record what became of a try: with no other it is dead, and an endpoint that is `gone` is disabled."""
    state = "sent" if sent else "queued" if retry_s is not None else "dead"
    delay = timedelta(seconds=retry_s or 0)
    values = claimed.id, claimed.attempt, state, delay, detail, timedelta(0) if gone else PATIENCE
    await database.rows("SELECT settle_webhook(%s, %s, %s, %s, %s, %s)", *values)
