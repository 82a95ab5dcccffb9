"""What the operator sees of tenants: figures and names, never their words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from subclaw.core.tenant import TenantId
from subclaw.store.database import Database


@dataclass(frozen=True, kw_only=True)
class TenantSummary:
    """One line of the operator's list. `channels` are names of channels; `tokens` counts both ways."""

    id: TenantId
    name: str
    created_at: datetime
    channels: tuple[str, ...]
    messages: int
    tokens: int
    site: str


async def tenant_names(operator: Database, ids: Sequence[TenantId]) -> Mapping[TenantId, str]:
    """Return the names of tenants. The database is open in the operator's role."""
    rows = await operator.rows("SELECT id, name FROM tenant WHERE id = ANY (%s)", list(ids))
    return {TenantId(id): name for id, name in rows}


_SUMMARIES = """
    SELECT t.id, t.name, t.created_at,
           ARRAY(SELECT DISTINCT i.channel FROM identity i WHERE i.tenant_id = t.id ORDER BY 1),
           (SELECT coalesce(sum(c.inbox_seq), 0) FROM conversation c WHERE c.tenant_id = t.id)::bigint,
           (SELECT coalesce(sum(u.input_tokens + u.output_tokens), 0) FROM usage u WHERE u.tenant_id = t.id)::bigint,
           (SELECT CASE WHEN s.port IS NULL THEN 'static' ELSE 'port ' || s.port END FROM site s
             WHERE s.tenant_id = t.id)
    FROM tenant t ORDER BY t.id DESC LIMIT %s
"""


async def tenant_summaries(operator: Database, *, limit: int) -> tuple[TenantSummary, ...]:
    """List tenants, the newest first. The database is open in the operator's role."""
    return tuple(
        TenantSummary(
            id=TenantId(id),
            name=name,
            created_at=created_at,
            channels=tuple(channels),
            messages=messages,
            tokens=tokens,
            site=site or "",
        )
        for id, name, created_at, channels, messages, tokens, site in await operator.rows(_SUMMARIES, limit)
    )
