"""Quotas: what an operator has set of what machines may ask of the world."""

from subclaw.core.quota_setting import QuotaSetting
from subclaw.core.tenant import TenantId
from subclaw.store.database import Database

_SET_QUOTA = """
    INSERT INTO egress_quota (tenant_id, requests_per_minute, connections, bytes_per_day) VALUES (%s, %s, %s, %s)
    ON CONFLICT (coalesce(tenant_id, 0)) DO UPDATE SET requests_per_minute = excluded.requests_per_minute,
        connections = excluded.connections, bytes_per_day = excluded.bytes_per_day
"""


async def quota_setting(operator: Database, tenant_id: TenantId | None) -> QuotaSetting:
    """Return what is set for a tenant, or for each that has nothing of its own. Errors: `Unavailable`."""
    rows = await operator.rows(
        "SELECT requests_per_minute, connections, bytes_per_day FROM egress_quota"
        " WHERE coalesce(tenant_id, 0) = coalesce(%s::bigint, 0)",
        tenant_id,
    )
    for requests_per_minute, connections, bytes_per_day in rows:
        return QuotaSetting(
            requests_per_minute=requests_per_minute, connections=connections, bytes_per_day=bytes_per_day
        )
    return QuotaSetting()


async def set_quota(operator: Database, tenant_id: TenantId | None, setting: QuotaSetting) -> None:
    """Set what a tenant may use, or each that has nothing of its own. Errors: `Unavailable`."""
    await operator.rows(_SET_QUOTA, tenant_id, setting.requests_per_minute, setting.connections, setting.bytes_per_day)
