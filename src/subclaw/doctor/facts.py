"""What the host is like: gathered by looking, judged elsewhere. Nothing here changes anything."""

import ctypes
import os
import platform
import shutil
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from subclaw.accounts import SYSTEM_USERS
from subclaw.doctor.ports import PortHolder, holders
from subclaw.machines.cgroups.places import Survey, survey
from subclaw.machines.network.door import make_door
from subclaw.setup.checkout import can_read
from subclaw.setup.users import missing_users

SEARCHED = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/15/bin"
TIME_ERROR = 5
"""What adjtimex(2) returns while nothing keeps the clock right."""


@dataclass(frozen=True, kw_only=True)
class HostFacts:
    """A host, as it was found.

    `programs` says of each program asked for whether it is there. `can_import`, `limits` (what machines can be bounded
    in) and `door_complaint` (what keeps a machine's door from being made, empty if nothing does) are None if they could
    not be looked at (not root). `clock_is_kept` is whether something keeps the clock
    right; `product_from_s` is the newest of the product's files, which the clock (`now_s`, both since 1970) cannot be
    before.
    """

    system: str
    is_debian_12: bool
    architecture: str
    kernel: str
    python: tuple[int, int]
    is_root: bool
    programs: Mapping[str, bool]
    missing_users: Sequence[str]
    can_import: bool | None
    has_kvm: bool
    memory_bytes: int
    memory_available_bytes: int
    state_folder: Path
    state_free_bytes: int
    cache_folder: Path
    cache_free_bytes: int
    ports: Sequence[int]
    port_holders: Sequence[PortHolder]
    limits: Survey | None
    door_complaint: str | None
    has_seccomp: bool
    missing_namespaces: Sequence[str]
    now_s: float
    product_from_s: float
    clock_is_kept: bool


def gather(
    *, state_folder: Path, cache_folder: Path, ports: Sequence[int], programs: Collection[str], package_folder: Path
) -> HostFacts:
    """Look at this host. `package_folder` is that of the package `subclaw` as it is imported here."""
    release = _os_release()
    memory = _memory_bytes()
    absent = missing_users()
    is_root = os.geteuid() == 0
    return HostFacts(
        system=release.get("PRETTY_NAME", "an unknown system"),
        is_debian_12=(release.get("ID"), release.get("VERSION_ID")) == ("debian", "12"),
        architecture=platform.machine(),
        kernel=platform.release(),
        python=sys.version_info[:2],
        is_root=is_root,
        programs={name: shutil.which(name, path=SEARCHED) is not None for name in programs},
        missing_users=absent,
        can_import=_can_import(package_folder) if is_root and not absent else None,
        has_kvm=os.access("/dev/kvm", os.R_OK | os.W_OK),
        memory_bytes=memory.get("MemTotal", 0),
        memory_available_bytes=memory.get("MemAvailable", 0),
        state_folder=state_folder,
        state_free_bytes=_free_bytes(state_folder),
        cache_folder=cache_folder,
        cache_free_bytes=_free_bytes(cache_folder),
        ports=tuple(ports),
        port_holders=holders(ports),
        limits=survey(state_folder) if is_root else None,
        door_complaint=_door_complaint() if is_root else None,
        has_seccomp=Path("/proc/sys/kernel/seccomp/actions_avail").exists(),
        missing_namespaces=[
            n for n in ("ipc", "mnt", "net", "pid", "user", "uts") if not Path("/proc/self/ns", n).exists()
        ],
        now_s=time.time(),
        product_from_s=max(path.stat().st_mtime for path in package_folder.rglob("*.py")),
        clock_is_kept=ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512)) != TIME_ERROR,
    )


def parse_meminfo(text: str) -> dict[str, int]:
    """Return the sizes of a /proc/meminfo, in bytes, by name (proc(5): each line is `NAME: NUMBER kB`)."""
    fields = (line.split() for line in text.splitlines())
    return {
        name.rstrip(":"): int(number) * 1024
        for name, number, unit in (f for f in fields if len(f) == 3)
        if unit == "kB"
    }


def _memory_bytes() -> dict[str, int]:
    return parse_meminfo(Path("/proc/meminfo").read_text(encoding="ascii"))


def _os_release() -> Mapping[str, str]:
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def _free_bytes(folder: Path) -> int:
    """Return what is free where the folder is, or would be made."""
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(nearest).free


def _door_complaint() -> str:
    """Make a machine's door, which is gone afterwards, and say what kept it from being made."""
    try:
        make_door().close()
    except OSError as error:
        return str(error)
    return ""


def _can_import(package_folder: Path) -> bool:
    needed = (package_folder / "__init__.py", Path(sys.executable))
    return all(can_read(user, path) for user in SYSTEM_USERS for path in needed)
