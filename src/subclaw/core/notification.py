"""A notification: what an agent sends its person beside its replies. The ways to reach a person, and the port."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from subclaw.core.channel import Address
from subclaw.core.errors import Denied, NotFound
from subclaw.core.outgoing import OutgoingFile
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller

TEXT_LIMIT_CHARACTERS = 1_600
"""Longest notification: what one text message takes."""

TURN_LIMIT = 5
"""Most notifications of one turn, ..."""

HOUR_LIMIT = 30
"""... and most of one tenant in an hour."""

SHOWN_CHARACTERS = 4
"""How much of the end of an address is shown: enough to know one's own again."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way in which a person is reached: an address of theirs. The caller's own conversation `is_here`.

    Where they have `opted_out`, nothing may be sent.
    """

    address: Address
    is_here: bool
    is_preferred: bool
    opted_out: bool = False


class Notifications(Protocol):
    """Where notifications are sent."""

    async def ways(self, caller: Caller) -> Sequence[Way]:
        """List the ways in which the caller's person is reached, the preferred one first. Errors: `Unavailable`.

        That is the one which was chosen, or else the one in which they wrote last.
        """
        ...

    async def send(self, caller: Caller, to: Address, text: str, files: Sequence[OutgoingFile] = ()) -> None:
        """Send a text with files, which is part of the transcript there. The same call again sends nothing more.

        Errors: `Exhausted` beyond `TURN_LIMIT` and `HOUR_LIMIT`; `NotFound` if it is no address of the tenant's (any
        more); `Unavailable`.
        """
        ...

    async def prefer(self, tenant_id: TenantId, address: Address) -> None:
        """Have a way preferred from now on, wherever the person writes. Errors: `Unavailable`."""
        ...


def mask(address: str) -> str:
    """Return an address as it may be shown: the first digit and the end of a phone number, the end of any other."""
    if len(address) <= 2 * SHOWN_CHARACTERS:
        return "…"
    return f"{address[:2] if address.startswith('+') else ''}…{address[-SHOWN_CHARACTERS:]}"


def name_of(way: Way) -> str:
    """Return what a way is called: `sms +1…4567`."""
    return f"{way.address.channel} {mask(way.address.address)}"


def describe_ways(ways: Sequence[Way]) -> str:
    """List ways, a line each."""
    return "\n".join(
        name_of(way)
        + (", this conversation" if way.is_here else "")
        + (", preferred" if way.is_preferred else "")
        + (", opted out: nothing can be sent there" if way.opted_out else "")
        for way in ways
    )


def choose_way(ways: Sequence[Way], wanted: str | None) -> Way:
    """Return the way that is meant by a channel's name or by what `name_of` calls it; the first one without either.

    Errors: `NotFound`, or `Denied` where the person has opted out, in words for a model.
    """
    meant = [
        way
        for way in ways
        if wanted is None or wanted.strip().casefold() in (way.address.channel, name_of(way).casefold())
    ]
    for way in meant:
        if not way.opted_out:
            return way
    if meant:
        raise Denied("Not sent: the person has opted out there. Only they can change that, with START.")
    raise NotFound(f"The person is not reached by {(wanted or 'anything')[:40]!r}. There is:\n{describe_ways(ways)}")
