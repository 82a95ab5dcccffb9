"""A closed room for a process that runs code of an agent's folder: no network, no keys, none of the host's own files.

Linux namespaces of its own (user, network, mounts, processes), made by `unshare` without any privilege: it sees the
programs that are installed, empty folders where the platform keeps its state and sockets, and it can gain nothing.
Whoever is root has it run as nobody: root's files would be its own.
"""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ALWAYS_HIDDEN = tuple(map(Path, ("/run", "/tmp", "/var/tmp", "/dev/shm", "/home", "/root")))
"""Folders of others, and those in which anybody may leave something for anybody."""

_NAMESPACES = ("unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child", "--ipc")
_AS_NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--no-new-privs")
_POWERLESS = ("setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all")
_EMPTY = "mount -n -t tmpfs -o size=16m,mode=0755 tmpfs"
_ASIDE = Path("/run")
"""Where what is needed is held while the folder that it is in is emptied. Nobody installs anything there."""


def confined(command: Sequence[str], *, hidden: Sequence[Path] = (), memory_bytes: int) -> tuple[str, ...]:
    """Return a command that runs another one in such a room. `hidden` are folders that are empty there.

    Of a folder that holds the running Python, that alone is left, or nothing could start.
    """
    limited = ("prlimit", f"--as={memory_bytes}", "--core=0", "--nproc=4096", "--nofile=256", *_POWERLESS)
    user = _AS_NOBODY if os.geteuid() == 0 else ()
    return (*user, *_NAMESPACES, "sh", "-euc", _furnish(hidden), "sh", *limited, *command)


def _furnish(hidden: Sequence[Path]) -> str:
    """Return what makes the room, as a script that then runs its arguments."""
    folders = [path for path in (*ALWAYS_HIDDEN, *hidden) if path.is_dir() and path != _ASIDE]
    needed = {path: _ASIDE / str(number) for number, path in enumerate(_needed_below(folders))}
    above = [folder for folder in folders if any(path.is_relative_to(folder) for path in needed)]
    lines = [f"{_EMPTY} {_ASIDE}"]
    lines += [f"mkdir {aside}; mount -n --rbind {_quoted(path)} {aside}" for path, aside in needed.items()]
    lines += map(_emptied, above)
    lines += [f"mkdir -p {_quoted(path)}; mount -n --rbind {aside} {_quoted(path)}" for path, aside in needed.items()]
    lines += [f"umount -n -l {aside}; rmdir {aside}" for aside in needed.values()]
    lines += [_emptied(folder) for folder in folders if folder not in above]
    return "\n".join([*lines, "mount -n -t proc proc /proc", "cd /tmp", 'exec "$@"'])


def _needed_below(folders: Sequence[Path]) -> list[Path]:
    """Return where the running Python and this package are, as far as that is below any of these folders."""
    wanted = {Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve(), Path(__file__).resolve().parents[2]}
    return sorted(path for path in wanted if any(path.is_relative_to(folder) for folder in folders))


def _emptied(folder: Path) -> str:
    # One below another is hidden with that, and is no folder any more.
    return f"if [ -d {_quoted(folder)} ]; then {_EMPTY} {_quoted(folder)}; fi"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def closed_environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment of such a process: what a program cannot do without, and what is said here."""
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/tmp", **more}
