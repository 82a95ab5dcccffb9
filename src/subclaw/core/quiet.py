"""Quiet hours: when nobody is to be woken by what they did not ask for just then."""

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from subclaw.core.errors import Invalid
from subclaw.core.time_zone import instant_of, read_zone, wall_of

ASKED_WITHIN_S = 1_800
"""For how long after a person wrote, in any channel, what they are sent counts as asked for: a turn's longest time."""

UNASKED_AN_HOUR = 30
"""Most of what nobody asked for that one tenant is sent in an hour; the rest waits until there is room."""


@dataclass(frozen=True, kw_only=True)
class QuietHours:
    """From when to when, on the wall where the person is; `time_zone` (an IANA name) counts while theirs is unknown."""

    begins: time
    ends: time
    time_zone: str = "UTC"


def quiet_until(now: datetime, hours: QuietHours | None, time_zone: str) -> datetime | None:
    """Return when the quiet hours that it is now are over, in UTC; None if it is not quiet."""
    if hours is None or hours.begins == hours.ends:
        return None
    zone = _zone(time_zone or hours.time_zone)
    wall = wall_of(now, zone)
    at = wall.time()
    if hours.begins < hours.ends:
        is_quiet, days = hours.begins <= at < hours.ends, 0
    else:
        is_quiet, days = at >= hours.begins or at < hours.ends, int(at >= hours.begins)
    if not is_quiet:
        return None
    end = instant_of(datetime.combine(wall.date() + timedelta(days=days), hours.ends), zone)
    # Where clocks go back over the end, the wall shows it twice.
    return end if end > now else end + timedelta(hours=1)


def describe_quiet(hours: QuietHours | None) -> str:
    """Say in one line for an agent when its person is left alone; nothing where there are no quiet hours."""
    if hours is None or hours.begins == hours.ends:
        return ""
    return f"Quiet {hours.begins:%H:%M}-{hours.ends:%H:%M} on their clock: what they did not ask for waits until then."


def _zone(name: str) -> ZoneInfo:
    try:
        return read_zone(name)
    except Invalid:  # one that the database has no more
        return read_zone("UTC")
