"""`subclaw channels`."""

import asyncio
import json
from dataclasses import asdict, dataclass
from datetime import datetime

from rich.console import Console

from subclaw.app.addresses import public_url
from subclaw.app.channels import outside
from subclaw.channels.kind import ChannelSetUp, Outside
from subclaw.channels.registry import KINDS
from subclaw.config import Settings
from subclaw.core.channel import Address, InboundMessage, Receipt
from subclaw.core.errors import SubclawError, Unavailable
from subclaw.home import Home

CHECK_LIMIT_S = 20.0


@dataclass(frozen=True, kw_only=True)
class ChannelReport:
    """What there is to say of a channel. `works` is None if it was not asked; `webhooks` are addresses and places."""

    name: str
    title: str
    is_set_up: bool
    place: str
    webhooks: tuple[tuple[str, str], ...]
    works: bool | None
    words: str


async def examine_channels(settings: Settings, console: Console, *, as_json: bool) -> None:
    """Say of each channel whether it is set up, what is to be pasted where, and what its provider says.

    Providers are asked through the running subclaw's gateway. Errors: `Unavailable` if one that is set up does
    not work.
    """
    set_up = {one.kind.name: one for one in settings.channels}
    port = settings.port or Home(settings.home).port()
    ways = outside(settings, port, _NoIntake(), _nothing_heard, _nowhere_heard) if port else None
    url = public_url(settings, port) if port else settings.public_url or ""
    reports = [
        await _examine(set_up[kind.name], ways, url.rstrip("/"))
        if kind.name in set_up
        else ChannelReport(
            name=kind.name,
            title=kind.title,
            is_set_up=False,
            place="",
            webhooks=(),
            works=None,
            words=f"set {', '.join([*_wanted(kind.variables), *kind.secrets])}",
        )
        for kind in KINDS
    ]
    if as_json:
        console.print_json(json.dumps([asdict(report) for report in reports]))
    else:
        for report in reports:
            _print(report, console)
    if failing := [report.title for report in reports if report.works is False]:
        raise Unavailable(f"{', '.join(failing)}: set up, and does not work.")


async def _examine(channel: ChannelSetUp, ways: Outside | None, url: str) -> ChannelReport:
    works, words = None, ""
    if channel.check is not None:
        works, words = await _check(channel, ways)
    return ChannelReport(
        name=channel.kind.name,
        title=channel.kind.title,
        is_set_up=True,
        place=channel.place or url,
        webhooks=tuple((url + webhook.path, webhook.where) for webhook in channel.webhooks),
        works=works,
        words=words,
    )


async def _check(channel: ChannelSetUp, ways: Outside | None) -> tuple[bool | None, str]:
    assert channel.check is not None
    if ways is None or not ways.gateway_socket.exists():
        return None, "start subclaw (`subclaw up`), and its provider can be asked"
    try:
        async with asyncio.timeout(CHECK_LIMIT_S):
            return True, await channel.check(ways)
    except SubclawError as error:
        return False, error.public
    except TimeoutError:
        return False, f"its provider did not answer within {CHECK_LIMIT_S:.0f} s"


def _wanted(variables: tuple[str, ...]) -> list[str]:
    """Return the variables that have to be set: where a provider is has a default."""
    return [variable for variable in variables if not variable.endswith("_BASE_URL")]


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
