"""What agents have asked the operator for: what waits, and deciding on it."""

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import TupleRow

from subclaw.core.errors import Exhausted, NotFound
from subclaw.core.policy import Rule, Scope
from subclaw.core.tenant import TenantId
from subclaw.store.database import Database
from subclaw.store.egress_rules import RULE_LIMITS

_WAITING = """
    SELECT r.id, r.tenant_id, t.name, r.host, r.ports, r.methods, r.paths, r.reason, r.created_at, r.expires_at
    FROM access_request r JOIN tenant t ON t.id = r.tenant_id
    WHERE r.decided_at IS NULL AND r.expires_at > now() ORDER BY r.id LIMIT %s
"""


@dataclass(frozen=True, kw_only=True)
class AccessRequest:
    """A request that waits for the operator. The rule's comment is the reason, in the words of the tenant's agent."""

    id: int
    tenant_id: TenantId
    tenant_name: str
    rule: Rule
    asked_at: datetime
    expires_at: datetime


async def waiting_requests(operator: Database, *, limit: int) -> tuple[AccessRequest, ...]:
    """List the requests that wait, the oldest first. Errors: `Unavailable`."""
    return tuple(map(_request, await operator.rows(_WAITING, limit)))


async def decide_request(operator: Database, id: int, *, approved: bool, because: str = "") -> None:
    """Decide a request; the rule, if it is approved, and the word to the agent are one transaction.

    Errors: `NotFound` if none of that number waits, `Exhausted` if the tenant has too many rules, `Unavailable`.
    """
    limit = RULE_LIMITS[Scope.TENANT]
    ((outcome,),) = await operator.rows("SELECT decide_access(%s, %s, %s, %s)", id, approved, because, limit)
    if outcome == "over":
        raise NotFound(f"No request {id} waits: see subclaw policy requests.")
    if outcome == "full":
        raise Exhausted(f"The tenant has {limit:,} rules already. Remove some first.")


def _request(row: TupleRow) -> AccessRequest:
    id, tenant_id, tenant_name, host, ports, methods, paths, reason, asked_at, expires_at = row
    rule = Rule(
        host=host,
        ports=tuple(ports),
        methods=tuple(methods),
        paths=tuple(paths),
        scope=Scope.TENANT,
        comment=reason,
    )
    return AccessRequest(
        id=id,
        tenant_id=TenantId(tenant_id),
        tenant_name=tenant_name,
        rule=rule,
        asked_at=asked_at,
        expires_at=expires_at,
    )
