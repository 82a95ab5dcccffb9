"""`subclaw audit isolation`: proof, on the installation that runs, that no customer reaches what is another's."""

import asyncio
from urllib.parse import urlsplit

from rich.console import Console

from subclaw.app.addresses import database_address, local_url, public_url
from subclaw.audit.installation import Installation
from subclaw.audit.report import Report, found_row
from subclaw.audit.run import audit
from subclaw.commands.tables import show
from subclaw.config import Settings
from subclaw.console.gate import console_link
from subclaw.core.errors import Denied
from subclaw.egress.keys import read_public_key
from subclaw.home import Home, require_running


async def audit_isolation(settings: Settings, console: Console, *, customers: int, keep: bool, as_json: bool) -> bool:
    """Audit the installation, print what came of it, and say whether it is clean.

    Errors: `Unavailable`, `Denied`, `Conflict` if an audit runs already.
    """
    installation = await asyncio.to_thread(installation_of, settings)
    with Console(stderr=True).status("auditing") as status:
        report = await audit(installation, customers=customers, keep=keep, on_step=status.update)
    if as_json:
        console.print_json(data=report.as_json())
    else:
        print_report(report, console)
    return report.is_clean


def installation_of(settings: Settings) -> Installation:
    """Return what the audit is given of the installation that runs here. Errors: `Unavailable`, `Denied`."""
    home = Home(settings.home)
    port = require_running(home)
    public = public_url(settings, port)
    try:
        link = console_link(public, home.console_key.read_text(encoding="utf-8").strip())
    except PermissionError:
        raise Denied("The audit reads logs and the state folder, which are root's. Use sudo.") from None
    return Installation(
        url=local_url(settings, port),
        address=database_address(settings),
        seal_to=read_public_key(home.keys),
        model_socket=home.audit_socket,
        logs=(home.logs,),
        folders=(home.releases, home.sites, home.caddy, home.keys, home.api_keys, home.path / "run"),
        console=link,
        headers={"Host": urlsplit(public).netloc},
    )


def print_report(report: Report, console: Console) -> None:
    """Print the table of doors and places, and what crossed, which is never shown in words."""
    areas = {area: sum(1 for each in report.crossings if each.area == area) for area in report.searched}
    rows = [{"": "door", "what": door, "times": times, "crossings": ""} for door, times in sorted(report.tried.items())]
    rows += [
        {"": "place", "what": area, "times": times, "crossings": areas[area]}
        for area, times in sorted(report.searched.items())
    ]
    show(rows, console, as_json=False, none="")
    if report.crossings:
        console.print("\n[bold red]Crossings[/]")
        show(list(map(found_row, report.crossings)), console, as_json=False, none="")
    if report.unseen:
        what = sorted({canary.kind.value for canary in report.unseen})
        console.print(
            f"\n{len(report.unseen)} canaries were not where they belong ({', '.join(what)}): nothing is proven."
        )
    console.print(
        f"\n{report.customers} customers, {sum(report.tried.values()):,} tries at {len(report.tried)} doors, "
        f"{sum(report.searched.values()):,} places searched: {len(report.crossings)} crossings "
        f"in {report.duration_s:.0f} s. {report.receipts} receipts of erasure.",
        soft_wrap=True,
    )
