"""What the operator sees of tenants: figures and names, never their words."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from subclaw.core.errors import NotFound
from subclaw.core.tenant import TenantId
from subclaw.store.database import Database


@dataclass(frozen=True, kw_only=True)
class TenantSummary:
    """One line of the operator's list. `channels` are names of channels; `tokens` counts both ways.

    One that is suspended has been so since `suspended_at`, for a reason that its person is told.
    """

    id: TenantId
    name: str
    plan: str
    created_at: datetime
    channels: tuple[str, ...]
    messages: int
    tokens: int
    site: str
    suspended_at: datetime | None
    suspended_because: str


_SUMMARIES = """
    SELECT t.id, t.name, t.plan, t.created_at,
           ARRAY(SELECT DISTINCT i.channel FROM identity i WHERE i.tenant_id = t.id ORDER BY 1),
           (SELECT coalesce(sum(c.inbox_seq), 0) FROM conversation c WHERE c.tenant_id = t.id)::bigint,
           (SELECT coalesce(sum(u.input_tokens + u.output_tokens), 0) FROM usage u WHERE u.tenant_id = t.id)::bigint,
           (SELECT CASE WHEN s.port IS NULL THEN 'static' ELSE 'port ' || s.port END FROM site s
             WHERE s.tenant_id = t.id), t.suspended_at, t.suspended_because
    FROM tenant t WHERE t.id < %s AND starts_with(t.name, %s) ORDER BY t.id DESC LIMIT %s
"""

LAST_ID = 2**63 - 1
"""No row's id is greater."""


async def tenant_summaries(
    operator: Database, *, limit: int, before: int = LAST_ID, prefix: str = ""
) -> tuple[TenantSummary, ...]:
    """List tenants with ids below `before` and names that begin with `prefix`, the newest first.

    The database is open in the operator's role, here and below.
    """
    return tuple(
        TenantSummary(
            id=TenantId(id),
            name=name,
            plan=plan,
            created_at=created_at,
            channels=tuple(channels),
            messages=messages,
            tokens=tokens,
            site=site or "",
            suspended_at=suspended_at,
            suspended_because=because,
        )
        for (
            id,
            name,
            plan,
            created_at,
            channels,
            messages,
            tokens,
            site,
            suspended_at,
            because,
        ) in await operator.rows(_SUMMARIES, before, prefix, limit)
    )


async def find_tenant(operator: Database, tenant_id: int) -> TenantSummary:
    """Return one tenant's line. Errors: `NotFound`."""
    for tenant in await tenant_summaries(operator, limit=1, before=tenant_id + 1):
        if tenant.id == tenant_id:
            return tenant
    raise NotFound("There is no such tenant.")


async def tenant_names(operator: Database, ids: Collection[int]) -> Mapping[int, str]:
    """Return the names of tenants."""
    return dict(await operator.rows("SELECT id, name FROM tenant WHERE id = ANY (%s)", list(ids)))


async def tenant_number(operator: Database, name: str) -> TenantId:
    """Return the number of a tenant, by its name. Errors: `NotFound`, `Unavailable`."""
    rows = await operator.rows("SELECT id FROM tenant WHERE name = %s", name)
    if not rows:
        raise NotFound(f"There is no tenant {name}.")
    return TenantId(rows[0][0])
