"""Time zones: their names, the instants that a clock on a wall there means, and how an instant is said there.

The rules come from the time zone database, of the system or of the package `tzdata`, by `zoneinfo`.
"""

import re
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from subclaw.core.errors import Invalid

NAME_LIMIT_CHARACTERS = 64

_NAME = re.compile(r"UTC|[A-Z][A-Za-z_]*(/[A-Z][A-Za-z0-9_+-]*){1,2}")
"""Names by place. This leaves out what the database has besides: abbreviations, which move with no summer time, and
variants that count leap seconds."""


def read_zone(name: str) -> ZoneInfo:
    """Return the time zone of a name such as Europe/Berlin. Errors: `Invalid`."""
    if len(name) <= NAME_LIMIT_CHARACTERS and _NAME.fullmatch(name):
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):  # a name of nothing, of a file that is none, of a folder
            pass
    raise Invalid(f"There is no time zone {name[:NAME_LIMIT_CHARACTERS]!r}. Names are like Europe/Berlin, or UTC.")


def instant_of(wall: datetime, zone: tzinfo) -> datetime:
    """Return the instant, in UTC, that a clock on the wall means: `wall` has no offset.

    A time that does not exist, since clocks go forward over it, is moved forward by as much as they go; of one that is
    there twice, since they go back, the first is meant (PEP 495, fold=0).
    """
    return wall.replace(tzinfo=zone, fold=0).astimezone(UTC)


def wall_of(instant: datetime, zone: tzinfo) -> datetime:
    """Return what a clock on the wall shows then, without an offset."""
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def say_instant(instant: datetime, zone: tzinfo = UTC) -> str:
    """Return an instant as a model reads it: the day of the week and the time there, and ISO 8601 in UTC."""
    in_utc = instant.astimezone(UTC)
    if zone is UTC:
        return f"{in_utc:%A %Y-%m-%dT%H:%M:%SZ}"
    seconds = ":%S" if in_utc.second else ""
    return f"{instant.astimezone(zone):%A %Y-%m-%d %H:%M{seconds}} {zone} ({in_utc:%Y-%m-%dT%H:%M:%SZ})"
