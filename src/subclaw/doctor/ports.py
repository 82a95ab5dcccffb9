"""Which program listens on a TCP port."""

import os
import pwd
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LISTENING = "0A"


@dataclass(frozen=True, kw_only=True)
class PortHolder:
    """Who listens on a port. `program` and `pid` are None if they may not be seen (not root)."""

    port: int
    user: str
    program: str | None
    pid: int | None


@dataclass(frozen=True, kw_only=True)
class Listener:
    """A listening socket, as the kernel lists it."""

    port: int
    uid: int
    inode: int


def parse_listeners(text: str) -> tuple[Listener, ...]:
    """Return the listening sockets of a /proc/net/tcp or tcp6 (proc(5)); lines of another shape are passed over."""
    rows = [line.split() for line in text.splitlines()[1:]]
    return tuple(
        Listener(port=int(row[1].rpartition(":")[2], 16), uid=int(row[7]), inode=int(row[9]))
        for row in rows
        if len(row) > 9 and row[3] == LISTENING
    )


def holders(ports: Collection[int]) -> tuple[PortHolder, ...]:
    """Return who listens on any of `ports`, at most one holder a port, in order."""
    found = {listener.port: listener for listener in _listeners() if listener.port in ports}
    owners = _owners({listener.inode for listener in found.values()})
    return tuple(_holder(listener, owners.get(listener.inode)) for _, listener in sorted(found.items()))


def _listeners() -> Iterator[Listener]:
    for name in ("tcp6", "tcp"):
        table = Path("/proc/net", name)
        if table.exists():
            yield from parse_listeners(table.read_text(encoding="ascii"))


def _owners(inodes: Collection[int]) -> dict[int, int]:
    """Return the process that holds each socket, as far as this user may see."""
    names = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*/fd") if names else ():
        found |= {names[link]: int(folder.parent.name) for link in _links(folder) if link in names}
    return found


def _links(folder: Path) -> Iterator[str]:
    """Yield what a process has open; what is closed meanwhile, or belongs to somebody else, is passed over."""
    with suppress(OSError):
        for name in os.listdir(folder):
            with suppress(FileNotFoundError):
                yield os.readlink(folder / name)


def _holder(listener: Listener, pid: int | None) -> PortHolder:
    try:
        user = pwd.getpwuid(listener.uid).pw_name
    except KeyError:
        user = str(listener.uid)
    return PortHolder(port=listener.port, user=user, program=_program(pid), pid=pid)


def _program(pid: int | None) -> str | None:
    if pid is None:
        return None
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return None
