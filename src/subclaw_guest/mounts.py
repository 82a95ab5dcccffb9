"""Calls of the kernel's that Python does not have: mounts and roots. Each raises `OSError`."""

import ctypes
import os

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_BIND = 4096
MS_MOVE = 8192
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2
CLONE_NEWNS = 0x20000
PIVOT_ROOT = 155

libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Call mount(2)."""
    checked(libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()))


def bind(source: str, target: str) -> None:
    """Show a file or folder at another place as well."""
    mount(source, target, flags=MS_BIND)


def unmount(target: str) -> None:
    """Take a mount away at once; whoever still uses it keeps it until then (umount2(2))."""
    checked(libc.umount2(target.encode(), MNT_DETACH))


def change_root(root: str) -> None:
    """Make a mount the root of every process that was in the old one, and let that go.

    The old root ends up on top of the new one at `/`, and so does not need a folder in it: see pivot_root(2).
    """
    os.chdir(root)
    checked(libc.syscall(PIVOT_ROOT, b".", b"."))
    unmount(".")
    os.chdir("/")


def leave_mounts() -> None:
    """Have mounts of this process's own, of which no other sees a change (unshare(2))."""
    checked(libc.unshare(CLONE_NEWNS))
    mount("none", "/", flags=MS_REC | MS_PRIVATE)


def checked(result: int) -> None:
    """Raise `OSError` for a C function's -1."""
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
