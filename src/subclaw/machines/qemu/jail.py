"""Where QEMU runs: an empty root with nothing in it but QEMU, namespaces of its own, a user of its own, no rights.

The root is a folder with copies of QEMU, its libraries and its firmware, made once for each build of QEMU and mounted
read-only. bubblewrap makes the namespaces; its first process in them is their init, so that whatever ends it ends QEMU
too, and it is only gone when QEMU is.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from subclaw.core.errors import Unavailable
from subclaw.machines.qemu.processes import name_prefix

PROGRAM = "qemu-system-x86_64"
PRIVILEGES = "setpriv"
LIBRARIES = Path("/usr/lib/x86_64-linux-gnu/qemu")
MODULES = ("accel-tcg-x86_64.so",)
FIRMWARE = Path("/usr/share/qemu")
FIRMWARE_FILES = ("bios-microvm.bin", "linuxboot_dma.bin", "pvh.bin")
INTERPRETER = "/lib64/ld-linux-x86-64.so.2"
NEEDED = {  # by a machine's jail and its door
    PROGRAM: "qemu-system-x86",
    "bwrap": "bubblewrap",
    "ldd": "libc-bin",
    "nft": "nftables",
    "prlimit": "util-linux",
    PRIVILEGES: "util-linux",
}
MOST_OPEN_FILES = 256
FIRST_USER = 2_000_000_000
USERS_PER_HOME = 4_096
"""Numbers that no user of a host has: above those of Debian, of systemd's containers and of subordinate users."""

KVM = Path("/dev/kvm")
NAMESPACES = ("--unshare-pid", "--unshare-ipc", "--unshare-net", "--unshare-uts", "--unshare-cgroup")


@dataclass(frozen=True, kw_only=True)
class Jail:
    """How a host's QEMU processes are shut in.

    `build` names the files of `root`; each process has a user of its own, numbered from `first_user`.
    """

    root: Path
    build: str
    first_user: int


def open_jail(cache: Path, home: Path) -> Jail:
    """Return the jail of a host, whose root is made in the cache if need be. Raises `Unavailable`, in words."""
    missing = sorted({package for program, package in NEEDED.items() if not shutil.which(program)})
    if missing:
        raise Unavailable(f"Machines need programs that are missing: apt-get install {' '.join(missing)}")
    try:
        files = files_of_qemu()
        build = build_of(files)
        root = cache / "jails" / build
        if not root.exists():
            make_root(root, files)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable("The jail of the machines cannot be made.", internal=str(error)) from error
    share = int(hashlib.sha256(name_prefix(home).encode()).hexdigest(), 16) % 16_384
    return Jail(root=root, build=build, first_user=FIRST_USER + share * USERS_PER_HOME)


def files_of_qemu() -> tuple[Path, ...]:
    """List every file that QEMU needs to run a machine. Raises `OSError`, `CalledProcessError`."""
    programs = [Path(found) for name in (PROGRAM, PRIVILEGES) if (found := shutil.which(name))]
    loaded = [*programs, *(LIBRARIES / name for name in MODULES)]
    libraries = {library for path in loaded for library in libraries_of(path)}
    firmware = [FIRMWARE / name for name in FIRMWARE_FILES]
    return tuple(sorted({*loaded, *libraries, *firmware, Path(INTERPRETER)}))


def libraries_of(path: Path) -> list[Path]:
    """List the shared libraries that a program loads. Raises `OSError`, `CalledProcessError`."""
    output = subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=True).stdout
    return [Path(found) for found in re.findall(r"=> (/\S+) \(", output)]


def build_of(files: Iterable[Path]) -> str:
    """Name a set of files: another QEMU, or another library under it, has another name. Raises `OSError`."""
    digest = hashlib.sha256()
    for path in files:
        status = path.stat()
        digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:32]


def make_root(root: Path, files: Iterable[Path]) -> None:
    """Copy files into a root folder, which appears complete or not at all. Raises `OSError`."""
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=root.parent) as folder:
        made = Path(folder) / "root"
        for mount_point in ("proc", "dev"):
            (made / mount_point).mkdir(parents=True)
        (made / KVM.relative_to("/")).touch()
        for path in files:
            target = made / path.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path.resolve(), target)
            target.chmod(0o555)
        for folder, _, _ in os.walk(made):  # whatever this process's umask is: those in the jail are other users
            Path(folder).chmod(0o755)
        if not root.exists():
            made.rename(root)


def command_in_jail(jail: Jail, user: int, *, with_kvm: bool, information: int, start: int) -> list[str]:
    """Return what a command line is put behind to run it in a jail, as a user who is in no group but KVM's.

    `information` is a descriptor to which the number of the first process in the jail is written, as JSON; the jail
    waits until something can be read from `start`.
    """
    device = ["--dev-bind", str(KVM), str(KVM)] if with_kvm else []
    groups = f"--groups={KVM.stat().st_gid}" if with_kvm and KVM.stat().st_gid else "--clear-groups"
    return [
        *("prlimit", "--core=0:0", f"--nofile={MOST_OPEN_FILES}:{MOST_OPEN_FILES}"),
        *("bwrap", *NAMESPACES, "--die-with-parent", "--new-session", "--clearenv", "--setenv", "LC_ALL", "C"),
        *("--ro-bind", str(jail.root), "/", *device, "--proc", "/proc", "--chdir", "/"),
        *("--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"),
        *("--info-fd", str(information), "--block-fd", str(start), "--"),
        *(f"/usr/bin/{PRIVILEGES}", f"--reuid={user}", f"--regid={user}", groups),
        *("--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs", "--"),
    ]
