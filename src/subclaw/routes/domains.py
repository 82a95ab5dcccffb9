"""Hostnames of tenants' own: what to set in DNS, whether it is set, and whether it still is a day later."""

import asyncio
import logging
import secrets
from collections.abc import Collection, Sequence
from datetime import timedelta

from subclaw.core.errors import Conflict, Denied, Exhausted, Invalid, NotFound, SubclawError
from subclaw.core.hostname import full_hostname
from subclaw.core.site_name import looks_imitated
from subclaw.core.tenant import TenantId
from subclaw.routes.hostname import site_hostname
from subclaw.routes.publisher import SitePublisher
from subclaw.routes.records import Records
from subclaw.store.domains import Domain, StoreDomains
from subclaw.tools.site import SiteAction

_log = logging.getLogger(__name__)

DOMAINS_LIMIT = 10
"""Most hostnames of one tenant's own."""

WANTED_FOR = timedelta(days=30)
CHECKED_EVERY = timedelta(days=1)
LOST_AFTER = timedelta(days=3)
"""How long a hostname's records may be gone before it is its tenant's no more."""

CHECKS_AT_ONCE = 20
CHECK_INTERVAL_S = 600.0


def domain_action(domains: "SiteDomains") -> SiteAction:
    """Return the site action `domain`."""
    usage = "domain [HOSTNAME | remove HOSTNAME]: a domain of one's own for the site; says which DNS records it wants"
    return SiteAction(name="domain", usage=usage, perform=domains.act)


class SiteDomains:
    """The site action `domain`, and what keeps hostnames true. `domain` is the control plane's own hostname."""

    def __init__(
        self, *, store: StoreDomains, records: Records, publisher: SitePublisher, domain: str, sites_domain: str
    ) -> None:
        self._store = store
        self._records = records
        self._publisher = publisher
        self._domains = (domain, sites_domain)
        self._sites_domain = sites_domain

    async def act(self, tenant_id: TenantId, words: Sequence[str]) -> str:
        """Do what is said after `domain`: nothing lists, a hostname is taken or checked, `remove` gives one up.

        Errors: `Invalid`, `Conflict`, `Exhausted`, `NotFound`, all in words; `Denied` if the hostname or the whole site
        is refused; `Unavailable`.
        """
        if not words:
            return await self._listed(tenant_id)
        if len(words) == 2 and "remove" in words:
            return await self._remove(tenant_id, full_hostname(words[1] if words[0] == "remove" else words[0]))
        if len(words) > 1:
            raise Invalid("Say: domain shop.example, or: domain remove shop.example.")
        return await self._take(tenant_id, full_hostname(words[0]))

    async def check_due(self, *, read_in_place: Collection[str]) -> None:
        """Look at hostnames that nobody looked at for a day; take away those whose records are gone for days.

        Errors: `Unavailable` if the database is lost; a hostname that cannot be looked up is left as it is.
        """
        for domain in await self._store.claim_checks(CHECKS_AT_ONCE, CHECKED_EVERY):
            try:
                is_own = await self._shows(domain.hostname, domain.token)
            except SubclawError as error:
                _log.info("%s was not checked: %s", domain.hostname, error.internal)
                continue
            if is_own:
                await self._store.hold(domain.tenant_id, domain.hostname)
            else:
                await self._miss(domain, read_in_place)

    async def _miss(self, domain: Domain, read_in_place: Collection[str]) -> None:
        text = (
            f"{domain.hostname} does not lead to your site any more: its record _subclaw.{domain.hostname} has been "
            f"gone for {LOST_AFTER.days} days. Set it again and ask me to take the domain anew."
        )
        if await self._store.miss(domain, within=LOST_AFTER, text=text, read_in_place=read_in_place):
            _log.warning("tenant %d lost %s: its records are gone", domain.tenant_id, domain.hostname)
            await self._publisher.follow_rows()

    async def _take(self, tenant_id: TenantId, hostname: str) -> str:
        self._refuse_ours(hostname)
        own = site_hostname(await self._publisher.name_of(tenant_id), self._sites_domain)
        if await self._store.is_refused(hostname):
            raise Denied(f"Whoever runs this does not serve {hostname}.")
        if await self._store.is_held_by_another(tenant_id, hostname):
            raise Conflict(f"{hostname} is in use for another site here.")
        token = await self._store.want(
            tenant_id, hostname, secrets.token_hex(16), limit=DOMAINS_LIMIT, within=WANTED_FOR
        )
        if token is None:
            raise Exhausted(f"You have {DOMAINS_LIMIT} domains, which is the most. Give one up first.")
        leads, shows = await self._leads(hostname, own), await self._shows(hostname, token)
        if not (leads and shows):
            return _what_to_set(hostname, own, token, leads=leads, shows=shows)
        if not await self._store.hold(tenant_id, hostname):
            raise Conflict(f"{hostname} is in use for another site here.")
        await self._publisher.show(tenant_id)
        if looks_imitated(hostname):
            _log.warning("tenant %d: its domain %s may be taken for a firm's", tenant_id, hostname)
        return f"{hostname} leads to your site from now on. Leave its records as they are: they are checked every day."

    def _refuse_ours(self, hostname: str) -> None:
        for ours in self._domains:
            if hostname == ours or hostname.endswith(f".{ours}") or ours.endswith(f".{hostname}"):
                raise Invalid(f"{hostname} belongs to this server; use a domain of your own.")

    async def _leads(self, hostname: str, own: str) -> bool:
        """Say whether a hostname leads where the tenant's own does: by an alias, or by the same address."""
        return not (await self._records.addresses(hostname)).isdisjoint(await self._records.addresses(own))

    async def _shows(self, hostname: str, token: str) -> bool:
        return token in await self._records.texts(f"_subclaw.{hostname}")

    async def _remove(self, tenant_id: TenantId, hostname: str) -> str:
        if not await self._store.drop(tenant_id, hostname):
            raise NotFound(f"{hostname} is none of your domains.")
        await self._publisher.follow_rows()
        return f"{hostname} does not lead to your site any more."

    async def _listed(self, tenant_id: TenantId) -> str:
        found = await self._store.of(tenant_id)
        if not found:
            return "There are no domains of your own. Say: domain shop.example"
        return "\n".join(
            f"{domain.hostname}: " + ("leads to your site" if domain.is_held else "waits for its records")
            for domain in found
        )


def _what_to_set(hostname: str, own: str, token: str, *, leads: bool, shows: bool) -> str:
    lines = [f"Where the DNS of {hostname} is set, these records are still missing:"]
    if not shows:
        lines.append(f"TXT _subclaw.{hostname} = {token}")
    if not leads:
        # A name that has others below it, as a bare domain does, cannot be an alias (RFC 1034, section 3.6.2).
        bare = " (a bare domain takes no CNAME: give it the A and AAAA records that this name has)"
        lines.append(f"CNAME {hostname} = {own}" + (bare if hostname.count(".") == 1 else ""))
    lines.append("Then say it again. A new record may take an hour to be seen.")
    return "\n".join(lines)


async def keep_domains(
    domains: SiteDomains, *, read_in_place: Collection[str], interval_s: float = CHECK_INTERVAL_S
) -> None:
    """Look at tenants' hostnames every day, for as long as the caller lets it."""
    while True:
        try:
            await domains.check_due(read_in_place=read_in_place)
        except SubclawError as error:
            _log.warning("domains cannot be checked now: %s", error.internal)
        await asyncio.sleep(interval_s)
