"""A closed room for a process that runs code of an agent's folder: no network, no keys, none of the host's own files.

Linux namespaces of its own (user, network, mounts, processes), made by `unshare` without any privilege: it sees the
programs that are installed, empty folders where the platform keeps its state and sockets, and it can gain nothing.
Whoever is root has it run as nobody: root's files would be its own.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ALWAYS_HIDDEN = tuple(map(Path, ("/run", "/tmp", "/var/tmp", "/dev/shm", "/home", "/root")))
"""Folders of others, and those in which anybody may leave something for anybody."""

_NAMESPACES = ("unshare", "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child", "--ipc")
_AS_NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--no-new-privs")
_POWERLESS = ("setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all")
# What is below one that is hidden is no folder any more.
_HIDE = """\
count=$1; shift
while [ "$count" -gt 0 ]; do
    if [ -d "$1" ]; then mount -n -t tmpfs -o size=16m,mode=0755 tmpfs "$1"; fi
    shift; count=$((count - 1))
done
mount -n -t proc proc /proc
cd /tmp
exec "$@"
"""


def confined(command: Sequence[str], *, hidden: Sequence[Path] = (), memory_bytes: int) -> tuple[str, ...]:
    """Return a command that runs another one in such a room. `hidden` are folders that are empty there.

    A folder that holds the running Python is not hidden, or nothing could start.
    """
    folders = [str(path) for path in (*ALWAYS_HIDDEN, *hidden) if path.is_dir() and not _is_needed(path)]
    limited = ("prlimit", f"--as={memory_bytes}", "--core=0", "--nproc=4096", "--nofile=256", *_POWERLESS)
    hide = ("sh", "-euc", _HIDE, "sh", str(len(folders)), *folders)
    user = _AS_NOBODY if os.geteuid() == 0 else ()
    return (*user, *_NAMESPACES, *hide, *limited, *command)


def closed_environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment of such a process: what a program cannot do without, and what is said here."""
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/tmp", **more}


def _is_needed(path: Path) -> bool:
    own = Path(__file__).resolve().parents[2]
    needed = (Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve(), own)
    return any(each.is_relative_to(path.resolve()) for each in needed)
