"""`subclaw domains`: hostnames of tenants' own."""

from rich.console import Console

from subclaw.commands.lists import operator_database
from subclaw.commands.tables import show
from subclaw.config import Settings
from subclaw.core.errors import NotFound
from subclaw.core.hostname import full_hostname
from subclaw.core.site_name import looks_imitated
from subclaw.store.domains import ListedDomain, allow, listed, refuse


async def list_domains(settings: Settings, console: Console, *, limit: int, as_json: bool) -> None:
    """Print whose hostnames there are, and whether they lead here. Errors: `Unavailable`."""
    async with operator_database(settings) as operator:
        found = await listed(operator, limit=limit)
    rows = [
        {
            "hostname": domain.hostname,
            "tenant": domain.tenant_name,
            "state": _state(domain),
            "since": f"{domain.verified_at or domain.asked_at:%Y-%m-%d}",
            "flag": "may be taken for a firm's" if looks_imitated(domain.hostname) else "",
        }
        for domain in found
    ]
    show(rows, console, as_json=as_json, none="No tenant has a domain of its own.")


async def remove_domain(settings: Settings, console: Console, hostname: str) -> None:
    """Take a hostname from whoever has or wants it, for good. Errors: `Invalid`, `Unavailable`."""
    name = full_hostname(hostname)
    async with operator_database(settings) as operator:
        taken = await refuse(operator, name)
    had = f" It was taken from {taken}." if taken else " No tenant had it."
    console.print(f"{name} and what is below it lead to no site, until you allow it again.{had}")


async def allow_domain(settings: Settings, console: Console, hostname: str) -> None:
    """Let tenants have a hostname again. Errors: `NotFound`, `Invalid`, `Unavailable`."""
    name = full_hostname(hostname)
    async with operator_database(settings) as operator:
        if not await allow(operator, name):
            raise NotFound(f"{name} is not refused.")
    console.print(f"Tenants may have {name} again, once its records show that it is theirs.")


def _state(domain: ListedDomain) -> str:
    if domain.is_refused:
        return "refused"
    if domain.verified_at is None:
        return "wanted"
    return "missing" if domain.missing_since else "held"
