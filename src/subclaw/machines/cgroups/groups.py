"""Control groups: what a machine's processes may use of the host, bounded by the kernel.

One host's groups are below a parent of their own in each hierarchy. A host that cannot bound something still runs
machines; what is missing is known, with the reason. Version 1 has a hierarchy for each controller, version 2 one for
all, and a controller may be in either. Source: the kernel's admin-guide/cgroup-v2.rst and admin-guide/cgroup-v1.
"""

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from subclaw.core.errors import Unavailable
from subclaw.machines.cgroups.files import TURNED_ON_FILE, words, write
from subclaw.machines.cgroups.group import ControlGroup, Seat, distinct, in_words
from subclaw.machines.cgroups.limits import MAIN_FILES, Limits
from subclaw.machines.cgroups.places import Lack, Place, Resource, Survey, survey
from subclaw.machines.qemu.processes import name_prefix

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ControlGroups:
    """The groups of one host's home folder. `seats` and `accounting` are their parents; `missing` cannot be bounded."""

    seats: Mapping[Resource, Seat]
    missing: Mapping[Resource, Lack]
    accounting: Path | None
    disk: str | None

    @property
    def folders(self) -> tuple[Path, ...]:
        """The parents, each once."""
        return distinct(self.seats, self.accounting)

    def make(self, name: str, limits: Limits) -> ControlGroup:
        """Make a group with limits on all that can be bounded. `name` is a file's. Raises `Unavailable`."""
        group = self._group(name)
        if any(folder.exists() for folder in group.folders):
            raise Unavailable("The machine's control group is in use.", internal=f"{name} is there already")
        try:
            with in_words("The machine could not be bounded.", name):
                for folder in group.folders:
                    folder.mkdir()
            group.set_limits(limits)
        except Unavailable:
            group.remove()
            raise
        return group

    def left_over(self) -> tuple[ControlGroup, ...]:
        """Return the groups that are there: before any is made, an earlier host's, to be killed and removed.

        Raises `Unavailable`.
        """
        with in_words("The control groups cannot be listed.", ""):
            names = {path.name for folder in self.folders for path in folder.iterdir() if path.is_dir()}
        return tuple(self._group(name) for name in sorted(names))

    def close(self) -> None:
        """Remove the parents, where no group is left in them."""
        for folder in self.folders:
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _group(self, name: str) -> ControlGroup:
        return ControlGroup(
            name=name,
            seats={
                resource: Seat(version=seat.version, folder=seat.folder / name) for resource, seat in self.seats.items()
            },
            accounting=self.accounting / name if self.accounting else None,
            disk=self.disk,
        )


def open_groups(home: Path) -> ControlGroups:
    """Make the parent of a home folder's groups wherever this host can bound something.

    What it cannot is in `missing`, and is logged. The disk that is bounded is the one that `home` is on.
    """
    with in_words("The control groups of this host are not known.", str(home)):
        found = survey(home)
    return open_places(found, name_prefix(home).rstrip("-"))


def open_places(found: Survey, name: str) -> ControlGroups:
    """Do what `open_groups` says where a survey found room. `name` is the parent's."""
    opened = {resource: open_place(resource, place, name) for resource, place in found.places.items()}
    missing = {**found.missing, **{resource: seat for resource, seat in opened.items() if isinstance(seat, Lack)}}
    for resource, lack in missing.items():
        logger.warning("the %s of machines is not bounded: %s", resource.value, lack.value)
    return ControlGroups(
        seats={resource: seat for resource, seat in opened.items() if isinstance(seat, Seat)},
        missing=missing,
        accounting=open_accounting(found.accounting, name),
        disk=found.disk,
    )


def open_place(resource: Resource, place: Place, name: str) -> Seat | Lack:
    """Make a parent that bounds a resource of the groups below it."""
    parent = place.folder / name
    try:
        if place.version == 2:
            for folder in place.path:
                turn_on(folder, resource.value)
        parent.mkdir(exist_ok=True)
        if place.version == 2:
            turn_on(parent, resource.value)
    except OSError as error:
        logger.warning("no control group for %s: %s", resource.value, error)
        return Lack.REFUSED
    if not (parent / MAIN_FILES[resource, place.version]).exists():
        return Lack.NO_CONTROLLER
    return Seat(version=place.version, folder=parent)


def open_accounting(place: Place | None, name: str) -> Path | None:
    """Make the parent where version 1 counts processor time; None if there is none."""
    if place is None:
        return None
    folder = place.folder / name
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        logger.warning("processor time is not counted: %s", error)
        return None
    return folder


def turn_on(folder: Path, controller: str) -> None:
    """Let the groups below a group of version 2 have a controller. Raises `OSError`."""
    if controller not in words(folder / TURNED_ON_FILE):
        write(folder / TURNED_ON_FILE, f"+{controller}")
