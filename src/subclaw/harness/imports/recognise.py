"""Which kind of agent files are of, and where in a folder or archive they begin."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime

from subclaw.core.errors import Invalid
from subclaw.harness.exports import import_exported, is_exported
from subclaw.harness.imports.draft import Brought, Draft
from subclaw.harness.imports.hermes import import_hermes, is_hermes
from subclaw.harness.imports.openclaw import import_openclaw, is_openclaw

DEPTH_LIMIT = 6
"""How many folders with nothing else in them may stand around the files."""

_KINDS: tuple[tuple[Callable[[Collection[str]], bool], Callable[[Draft, datetime, str], Brought]], ...] = (
    (is_exported, import_exported),
    (is_hermes, import_hermes),
    (is_openclaw, import_openclaw),
)


def import_found(found: Mapping[str, bytes], now: datetime, time_zone: str = "") -> Brought:
    """Make a house of files by path, of whatever kind they are. `now` is the time, in UTC.

    `time_zone` is the tenant's, if it has one, for times that are in none. Folders around the
    files, as archives have them, are taken off. Errors: `Invalid`, in words.
    """
    files = dict(found)
    for _ in range(DEPTH_LIMIT):
        for is_kind, make in _KINDS:
            if is_kind(files):
                return make(Draft(files), now, time_zone)
        if len({path.partition("/")[0] for path in files}) != 1 or not all("/" in path for path in files):
            break
        files = {path.partition("/")[2]: content for path, content in files.items()}
    raise Invalid(
        "That is no OpenClaw workspace (with SOUL.md or AGENTS.md), no Hermes home (with memories/MEMORY.md) "
        "and no archive of `subclaw house export`."
    )
