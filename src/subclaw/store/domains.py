"""Hostnames of tenants' own: wanted, shown to be theirs, looked at again, lost."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from subclaw.core.tenant import TenantId
from subclaw.store.database import Database

_LISTED = """
    SELECT d.hostname, t.name, d.asked_at, d.verified_at, d.missing_since, false
    FROM site_domain d JOIN tenant t ON t.id = d.tenant_id
    UNION ALL SELECT r.hostname, '', r.refused_at, NULL, NULL, true FROM refused_domain r
    ORDER BY 1, 2 LIMIT %s
"""


@dataclass(frozen=True, kw_only=True)
class Domain:
    """A hostname that a tenant wants, and the token by which it shows to own it. One that `is_held` is served."""

    tenant_id: TenantId
    hostname: str
    token: str
    is_held: bool


@dataclass(frozen=True, kw_only=True)
class ListedDomain:
    """A hostname as the operator sees it. One that `is_refused` is nobody's, and was refused at `asked_at`."""

    hostname: str
    tenant_name: str
    asked_at: datetime
    verified_at: datetime | None
    missing_since: datetime | None
    is_refused: bool


class StoreDomains:
    """The rows of tenants' hostnames, in the tenants' role. Errors of every call: `Unavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def want(
        self, tenant_id: TenantId, hostname: str, token: str, *, limit: int, within: timedelta
    ) -> str | None:
        """Note that a tenant wants a hostname; return its token, the older one if there is one.

        None if it has `limit` others. What was wanted for longer than `within` and never shown to be its own is
        forgotten.
        """
        arguments = (tenant_id, hostname, token, limit, within)
        ((kept,),) = await self._database.rows("SELECT want_domain(%s, %s, %s, %s, %s)", *arguments)
        return None if kept is None else str(kept)

    async def is_held_by_another(self, tenant_id: TenantId, hostname: str) -> bool:
        """Say whether a hostname is another tenant's."""
        return bool((await self._database.rows("SELECT domain_is_held(%s, %s)", hostname, tenant_id))[0][0])

    async def is_refused(self, hostname: str) -> bool:
        """Say whether the operator refuses a hostname, or one that it is below."""
        return bool((await self._database.rows("SELECT domain_is_refused(%s)", hostname))[0][0])

    async def hold(self, tenant_id: TenantId, hostname: str) -> bool:
        """Give a tenant a hostname that it showed to own; false if another was faster, or the operator."""
        return bool((await self._database.rows("SELECT hold_domain(%s, %s)", tenant_id, hostname))[0][0])

    async def drop(self, tenant_id: TenantId, hostname: str) -> bool:
        """Take a hostname from a tenant; say whether it had it."""
        return bool((await self._database.rows("SELECT drop_domain(%s, %s)", tenant_id, hostname))[0][0])

    async def of(self, tenant_id: TenantId) -> Sequence[Domain]:
        """Return a tenant's hostnames."""
        rows = await self._database.rows("SELECT * FROM tenant_domains(%s)", tenant_id)
        return [
            Domain(tenant_id=tenant_id, hostname=hostname, token=token, is_held=is_held)
            for hostname, token, is_held in rows
        ]

    async def claim_checks(self, limit: int, every: timedelta) -> Sequence[Domain]:
        """Take hostnames that nobody looked at for a while; nobody else is given them."""
        rows = await self._database.rows("SELECT * FROM claim_domain_checks(%s, %s)", limit, every)
        return [
            Domain(tenant_id=TenantId(tenant_id), hostname=hostname, token=token, is_held=True)
            for tenant_id, hostname, token in rows
        ]

    async def miss(self, domain: Domain, *, within: timedelta, text: str, read_in_place: Collection[str]) -> bool:
        """Note that a hostname's records are gone; say whether it is lost by that, after having been told `text`."""
        arguments = (domain.tenant_id, domain.hostname, within, text, list(read_in_place))
        return bool((await self._database.rows("SELECT miss_domain(%s, %s, %s, %s, %s)", *arguments))[0][0])


async def listed(operator: Database, *, limit: int) -> Sequence[ListedDomain]:
    """List hostnames of tenants' own, for the operator. Errors: `Unavailable`."""
    return [
        ListedDomain(
            hostname=hostname,
            tenant_name=name,
            asked_at=asked_at,
            verified_at=verified_at,
            missing_since=missing_since,
            is_refused=is_refused,
        )
        for hostname, name, asked_at, verified_at, missing_since, is_refused in await operator.rows(_LISTED, limit)
    ]


async def refuse(operator: Database, hostname: str) -> int:
    """Take a hostname and all below it from whoever has or wants them, for good; return how many there were.

    Errors: `Unavailable`.
    """
    return int((await operator.rows("SELECT refuse_domain(%s)", hostname))[0][0])


async def allow(operator: Database, hostname: str) -> bool:
    """Refuse a hostname no more; say whether it was refused. Errors: `Unavailable`."""
    return bool((await operator.rows("SELECT allow_domain(%s)", hostname))[0][0])


async def tenant_of_domain(database: Database, hostname: str) -> TenantId | None:
    """Return whose own a hostname is. Errors: `Unavailable`."""
    ((found,),) = await database.rows("SELECT tenant_of_domain(%s)", hostname)
    return None if found is None else TenantId(found)
