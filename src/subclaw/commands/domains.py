"""`subclaw domains`: hostnames of tenants' own."""

from rich.console import Console

from subclaw.commands.lists import operator_database
from subclaw.commands.tables import show
from subclaw.config import Settings
from subclaw.core.errors import NotFound
from subclaw.core.hostname import full_hostname
from subclaw.core.site_name import looks_imitated
from subclaw.store.domains import listed, take_away


async def list_domains(settings: Settings, console: Console, *, limit: int, as_json: bool) -> None:
    """Print whose hostnames there are, and whether they lead here. Errors: `Unavailable`."""
    async with operator_database(settings) as operator:
        found = await listed(operator, limit=limit)
    rows = [
        {
            "hostname": domain.hostname,
            "tenant": domain.tenant_name,
            "state": "wanted" if not domain.verified_at else "missing" if domain.missing_since else "held",
            "since": f"{domain.verified_at or domain.asked_at:%Y-%m-%d}",
            "flag": "may be taken for a firm's" if looks_imitated(domain.hostname) else "",
        }
        for domain in found
    ]
    show(rows, console, as_json=as_json, none="No tenant has a domain of its own.")


async def remove_domain(settings: Settings, console: Console, hostname: str) -> None:
    """Take a hostname from whoever has or wants it. Errors: `NotFound`, `Invalid`, `Unavailable`."""
    name = full_hostname(hostname)
    async with operator_database(settings) as operator:
        if not await take_away(operator, name):
            raise NotFound(f"No tenant has {name}.")
    console.print(f"{name} leads to no site any more.")
