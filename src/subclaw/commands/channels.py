"""`subclaw channels`."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import datetime

from rich.console import Console

from subclaw.app.addresses import public_url
from subclaw.app.channels import reachable_url
from subclaw.channels import examination
from subclaw.channels.kind import Outside
from subclaw.config import Settings
from subclaw.core.channel import Address, InboundMessage, Receipt
from subclaw.core.channel_report import ChannelReport
from subclaw.core.errors import Unavailable
from subclaw.core.keeping import Kept
from subclaw.home import Home


async def examine_channels(settings: Settings, console: Console, *, as_json: bool) -> None:
    """Say of each channel whether it is set up, what is to be pasted where, and what its provider says.

    Providers are asked through the running subclaw's gateway. Errors: `Unavailable` if one that is set up does
    not work.
    """
    port = settings.port or Home(settings.home).port()
    ways = _ways(settings, port) if port else None
    url = public_url(settings, port) if port else settings.public_url or ""
    reports = await examination.examine_channels(settings.channels, ways, url.rstrip("/"))
    if as_json:
        console.print_json(json.dumps([asdict(report) for report in reports]))
    else:
        for report in reports:
            _print(report, console)
    if failing := [report.title for report in reports if report.works is False]:
        raise Unavailable(f"{', '.join(failing)}: set up, and does not work.")


def _ways(settings: Settings, port: int) -> Outside:
    """Return what channels make their calls by; nothing is known of what was said."""
    return Outside(
        gateway_socket=Home(settings.home).egress_socket,
        public_url=reachable_url(settings, port),
        intake=_NoIntake(),
        last_heard=_nothing_heard,
        heard_lately=_nowhere_heard,
        keeping=_NothingKept,
    )


def _print(report: ChannelReport, console: Console) -> None:
    if not report.is_set_up:
        console.print(f"  [dim]-[/] {report.title}: not set up", highlight=False)
        console.print(f"      {report.words}", highlight=False, soft_wrap=True)
        return
    mark = {True: "[green]✓[/]", False: "[red]✗[/]", None: "·"}[report.works]
    console.print(f"  {mark} {report.title}: {report.place}", highlight=False, soft_wrap=True)
    if report.words:
        console.print(f"      {report.words}", markup=False, highlight=False, soft_wrap=True)
    for address, where in report.webhooks:
        console.print(f"      {address}", markup=False, highlight=False, soft_wrap=True)
        console.print(f"        goes to: {where}", markup=False, highlight=False, soft_wrap=True)


async def _nothing_heard(address: Address) -> None:
    """Nobody writes or is written to here."""


async def _nowhere_heard(channel: str, since: datetime, limit: int) -> tuple[()]:
    """Nobody listens here."""
    return ()


class _NoIntake:
    """Takes nothing: whoever examines channels receives no messages."""

    async def receive(self, message: InboundMessage) -> Receipt:
        raise Unavailable("Messages are not taken here.")


class _NothingKept:
    """Keeps nothing: whoever examines channels changes nothing of theirs."""

    def __init__(self, channel: str) -> None:
        """Make one for any channel."""

    async def read(self, *, after: int = 0) -> Kept:
        return Kept(entries={}, version=after)

    async def write(self, entries: Mapping[str, bytes | None], *, expected: int | None = None) -> int:
        raise Unavailable("Nothing is kept here.")

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        yield
