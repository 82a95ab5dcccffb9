"""Routes as folders: a hostname is a small folder on disk, and the router looks there for what to do with a request.

    FOLDER/.open/<hostname>             a link to the files of a site that serves these, and to anybody
    FOLDER/<hostname>                   a link to one of the folders below; switching it is one rename
    FOLDER/.kept/<random>/folder        a link to the files
    FOLDER/.kept/<random>/<name>.sock   an empty file, named as the door in the folder of doors that answers
    FOLDER/.kept/<random>/paused        an empty file: a plain page answers
    FOLDER/.kept/<random>/private       an empty file: the control plane is asked before anybody is served
    FOLDER/.mark                        what the routes were made from

What is open is in both; its first link goes before the second changes, and comes after it. So between the two, or if a
process was killed there, nobody is served what they should not be. The folders have the group of FOLDER (setgid), by
which the router may read them.

So a change needs nothing of the router, and one that was killed has nothing to restore. The folders are derived: what
should be there is in the database, so nothing here is brought to disk with care.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from subclaw.core.errors import Invalid, Unavailable
from subclaw.core.route import Route
from subclaw.routes.hostname import parse_hostname

OPEN = ".open"
FOLDER, PAUSED, PRIVATE = "folder", "paused", "private"
DOOR_SUFFIX = ".sock"
_KEPT, _MARK = ".kept", ".mark"
_ABANDONED_AFTER_S = 3600.0
_UNREADABLE = {"": ""}


class FolderRoutes:
    """The routes in one folder. Safe to share in a process.

    Every call is idempotent, and a process that is killed in one leaves each hostname as it was or as it should be.
    `doors` is the folder in which all doors lie. Errors: `Unavailable` if the disk cannot be written; `Invalid` for a
    route that cannot be.
    """

    def __init__(self, folder: Path, *, doors: Path) -> None:
        self._folder = folder
        self._doors = doors
        self._changing = asyncio.Lock()

    async def put(self, route: Route) -> None:
        """Add a hostname's route or replace it, at once and for every request that comes from now on."""
        hostname, entries = parse_hostname(route.hostname), self._entries(route)
        await self._change(lambda: self._put(hostname, entries))

    async def remove(self, hostname: str) -> None:
        """Take a hostname's route away; nothing happens if there is none."""
        name = parse_hostname(hostname)
        await self._change(lambda: self._remove(name))

    async def replace_all(self, routes: Iterable[Route], mark: str = "") -> None:
        """Make these the only routes, and leave the mark by which they are known. One after the other is switched."""
        wanted = {parse_hostname(route.hostname): self._entries(route) for route in routes}
        await self._change(lambda: self._replace_all(wanted, mark))

    async def note(self, mark: str) -> None:
        """Leave another mark: the routes that differ from it were put since."""
        await self._change(lambda: self._write_mark(mark))

    async def mark(self) -> str:
        """Return the mark of the routes that are here; empty if they were never made whole."""
        return await asyncio.to_thread(self._read_mark)

    def _entries(self, route: Route) -> Mapping[str, str]:
        """Return what a route's folder holds: links with where they lead, and empty files."""
        entries = dict[str, str]()
        if route.folder is not None:
            entries[FOLDER] = str(_absolute(route.folder))
        if route.door:
            entries[self._door_name(route.door)] = ""
        entries |= {name: "" for name, is_so in ((PAUSED, route.is_paused), (PRIVATE, route.is_private)) if is_so}
        return entries

    def _door_name(self, door: str) -> str:
        network, _, path = door.partition("/")
        socket = Path(path)
        if network != "unix" or socket.parent != self._doors or socket.suffix != DOOR_SUFFIX:
            raise Invalid(f"{door!r} is no door: it must be a socket in {self._doors}.")
        return socket.name

    async def _change(self, change: Callable[[], None]) -> None:
        async with self._changing:
            try:
                await asyncio.to_thread(self._make_folders)
                await asyncio.to_thread(change)
            except OSError as error:
                internal = f"a route: {error.strerror or type(error).__name__}"
                raise Unavailable("The server could not write to its disk.", internal=internal) from error

    def _make_folders(self) -> None:
        for name in (_KEPT, OPEN):
            (self._folder / name).mkdir(exist_ok=True)

    def _put(self, hostname: str, entries: Mapping[str, str]) -> None:
        is_open = entries.keys() == {FOLDER}
        if not is_open:
            self._close(hostname)
        self._switch(hostname, entries)
        if is_open:
            self._open(hostname, entries[FOLDER])

    def _open(self, hostname: str, target: str) -> None:
        link = self._folder / OPEN / hostname
        if not (link.is_symlink() and os.readlink(link) == target):
            new = link.parent / f".{secrets.token_hex(8)}"
            new.symlink_to(target)
            new.replace(link)

    def _close(self, hostname: str) -> None:
        (self._folder / OPEN / hostname).unlink(missing_ok=True)

    def _switch(self, hostname: str, entries: Mapping[str, str]) -> None:
        link = self._folder / hostname
        if _read(link) == entries:
            return
        kept = self._folder / _KEPT / secrets.token_hex(8)
        kept.mkdir()
        for name, target in entries.items():
            (kept / name).symlink_to(target) if target else (kept / name).touch()
        former = _target(link)
        new = kept.with_suffix(".link")
        new.symlink_to(f"{_KEPT}/{kept.name}")
        new.replace(link)
        _erase(former)

    def _remove(self, hostname: str) -> None:
        self._close(hostname)
        link = self._folder / hostname
        former = _target(link)
        link.unlink(missing_ok=True)
        _erase(former)

    def _replace_all(self, wanted: Mapping[str, Mapping[str, str]], mark: str) -> None:
        for hostname, entries in wanted.items():
            self._put(hostname, entries)
        there = {*os.listdir(self._folder), *os.listdir(self._folder / OPEN)}
        for name in there - wanted.keys():
            if not name.startswith("."):
                self._remove(name)
        self._sweep()
        self._write_mark(mark)

    def _sweep(self) -> None:
        """Erase what a killed process left behind."""
        kept = self._folder / _KEPT
        used = {link.resolve().name for link in self._folder.iterdir() if link.is_symlink()}
        for folder in kept.iterdir():
            if folder.name not in used and folder.lstat().st_mtime < time.time() - _ABANDONED_AFTER_S:
                folder.unlink() if folder.is_symlink() else _erase(folder)

    def _write_mark(self, mark: str) -> None:
        new = self._folder / f"{_MARK}.new"
        new.write_text(mark)
        new.replace(self._folder / _MARK)

    def _read_mark(self) -> str:
        try:
            return (self._folder / _MARK).read_text()
        except OSError:
            return ""


def _read(link: Path) -> Mapping[str, str]:
    """Return what a hostname's folder holds; something that no route is, if it cannot be read."""
    try:
        with os.scandir(link) as entries:
            return {entry.name: os.readlink(entry.path) if entry.is_symlink() else "" for entry in entries}
    except OSError:
        return _UNREADABLE


def _target(link: Path) -> Path | None:
    """Return the folder that a hostname's link leads to."""
    with contextlib.suppress(OSError):
        return link.parent / os.readlink(link)
    return None


def _erase(folder: Path | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise Invalid(f"The path {str(path)!r} must be absolute.")
    return path
