"""The house of a machine that is up: put in order when it comes up, mirrored when it changed and before it sleeps.

Everything here is called with the lock on the tenant's files, so that the machine neither starts nor goes to sleep in
the middle of it.
"""

import contextlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from subclaw.core.errors import SubclawError
from subclaw.core.house import (
    HouseFile,
    Mirror,
    Owed,
    Waiting,
    files_to_keep,
    fingerprint,
    fingerprints,
    laid_after,
    to_lay,
)
from subclaw.core.tenant import TenantId
from subclaw.machines.guest.guest import Guest, GuestBroken
from subclaw.machines.guest.houses import Seen

NOT_MIRRORED = "the house of machine %s is not mirrored: %s"
UNKNOWN = ""
"""The note of a machine whose house may not be as the mirror has it."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Housing:
    """Where houses are mirrored, and the defaults that are laid into each: content by path."""

    mirror: Mirror
    defaults: Mapping[str, bytes]

    def newest(self) -> dict[str, str]:
        """Return the fingerprints of the defaults."""
        return {path: fingerprint(content) for path, content in self.defaults.items()}

    def as_files(self, paths: Iterable[str]) -> tuple[Waiting, ...]:
        """Return defaults as what is to be put into a house."""
        return tuple(Waiting(path=path, content=self.defaults[path]) for path in paths)


@dataclass(kw_only=True)
class House:
    """What is known of the house of a machine that is up.

    `laid` are the fingerprints of the defaults that were laid there. `signature` is that of what the mirror has, empty
    if that is not known. What is `waiting` is still to be put into the machine; of what is `settled`, by fingerprints,
    the mirror has not been told. `note` is that of the last start which ended in order; see `note_of`.
    """

    tenant_id: TenantId
    laid: Mapping[str, str]
    waiting: tuple[Waiting, ...]
    note: str
    signature: str = ""
    settled: dict[str, str] = field(default_factory=dict)


def house_of(tenant_id: TenantId, owed: Owed) -> House:
    """Return what is known of a house when its machine starts."""
    return House(tenant_id=tenant_id, laid=owed.laid, waiting=owed.waiting, note=owed.note)


async def move_in(house: House, guest: Guest, housing: Housing, *, generation_before: int) -> None:
    """Put what waits into a machine that has come up, and lay the defaults. Whatever goes wrong is logged.

    Nothing is asked of one for which nothing waits and whose last start, of `generation_before`, ended in order. One
    with no start before is new.
    """
    if house.waiting or house.note != note_of(generation_before, housing):
        try:
            with mirroring(house.tenant_id):
                await (mirror_house if generation_before else furnish_new)(house, guest, housing)
        except GuestBroken as error:
            logger.warning(NOT_MIRRORED, house.tenant_id, error)


async def move_out(house: House, guest: Guest, housing: Housing, *, generation: int) -> None:
    """Mirror the house of a machine that goes to sleep. Raises `GuestBroken`; what else goes wrong is logged."""
    with mirroring(house.tenant_id):
        await mirror_house(house, guest, housing)
        await housing.mirror.rest(house.tenant_id, note_of(generation, housing))


def note_of(generation: int, housing: Housing) -> str:
    """Return what is noted of the start of a machine that then slept, and of the defaults that were laid in it.

    As long as the last start is that one, and the defaults are those, its house is as the mirror has it.
    """
    return f"{generation} {fingerprint(json.dumps(housing.newest(), sort_keys=True).encode())}"


@contextlib.contextmanager
def mirroring(tenant_id: TenantId) -> Iterator[None]:
    """Log that a house cannot be read or its mirror not be written: its machine is of use all the same."""
    try:
        yield
    except SubclawError as error:
        logger.warning(NOT_MIRRORED, tenant_id, error)


async def mirror_house(house: House, guest: Guest, housing: Housing) -> None:
    """Bring the mirror up to date with a machine, once everything that is due is put into it.

    Raises `GuestBroken`, and `SubclawError` if the house cannot be read or the mirror not be written.
    """
    if house.waiting:
        await place(house, guest, housing, house.waiting)
    seen = await guest.house("" if house.settled else house.signature)
    if seen is None:
        return
    newest = housing.newest()
    if due := to_lay(newest, house.laid, fingerprints(seen.files)):
        await place(house, guest, housing, housing.as_files(due))
        seen = await guest.house() or seen
    await tell_mirror(house, housing, seen)


async def furnish_new(house: House, guest: Guest, housing: Housing) -> None:
    """Put everything that is due into a machine whose house is empty, and is known then without a look.

    Raises as `mirror_house`.
    """
    waiting = house.waiting
    laid = laid_with(house.laid, housing.newest(), waiting)
    present = {file.path: "" for file in waiting if file.content is not None}
    files = (*waiting, *housing.as_files(to_lay(housing.newest(), laid, present)))
    refused = await place(house, guest, housing, files)
    there = {file.path: file.content for file in files if file.path not in refused}
    found = (HouseFile(path=path, content=content) for path, content in there.items() if content is not None)
    await tell_mirror(house, housing, Seen(signature="", files=tuple(found)))


async def tell_mirror(house: House, housing: Housing, seen: Seen) -> None:
    """Have the mirror keep what was seen in a machine. Raises `Unavailable`."""
    laid = laid_after(housing.newest(), house.laid, fingerprints(seen.files))
    files = files_to_keep(seen.files, laid)
    await housing.mirror.keep(house.tenant_id, files, laid=laid, settled=house.settled)
    house.laid, house.signature = laid, seen.signature
    house.settled.clear()


async def put_file(house: House, guest: Guest, housing: Housing, file: Waiting) -> None:
    """Put one file into a machine, and mirror it as soon as can be.

    Raises `GuestBroken`, and the reason for which the machine refuses it, a `SubclawError`.
    """
    refused = await place(house, guest, housing, (file,))
    if file.path in refused:
        raise refused[file.path]
    with mirroring(house.tenant_id):
        await mirror_house(house, guest, housing)


async def place(house: House, guest: Guest, housing: Housing, files: tuple[Waiting, ...]) -> Mapping[str, SubclawError]:
    """Put files into a machine; return those that it refused, which wait for another time. Raises as `Guest`."""
    refused = await guest.furnish(files) if files else {}
    for error in refused.values():
        logger.warning("machine %s refused a file of its house: %s", house.tenant_id, error.internal)
    house.laid = laid_with(house.laid, housing.newest(), files)
    placed = {file.path for file in files} - refused.keys()
    house.settled |= fingerprints(file for file in house.waiting if file.path in placed)
    house.waiting = tuple(file for file in house.waiting if file.path not in placed)
    return refused


def laid_with(laid: Mapping[str, str], newest: Mapping[str, str], files: Iterable[Waiting]) -> Mapping[str, str]:
    """Count as laid the defaults that a tenant removes before they ever were, so that they are not laid later."""
    removed = {file.path: newest[file.path] for file in files if file.content is None and file.path in newest}
    return {**removed, **laid}
