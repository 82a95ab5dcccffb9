"""Threads that are in a network namespace of their own, and what is made there.

A namespace without a name lasts for as long as something of it is open: a socket that was made in it, or its tap. So
nothing of it is left when those are closed, however their processes ended.
"""

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

CLONE_NEWNET = 0x4000_0000
TUN = "/dev/net/tun"
TUNSETIFF = 0x4004_54CA
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x2, 0x1000, 0x4000
"""With the last a machine leaves checksums and cutting long packets to the host: both are slow under emulation."""

RULES_LIMIT_S = 10.0
NFT = "nft"

T = TypeVar("T")
libc = ctypes.CDLL(None, use_errno=True)


def in_new_namespace(function: Callable[[], T]) -> Future[T]:
    """Call a function in a thread of its own that is in a new network namespace, and ends with the function.

    The result raises what the function raises, and `OSError`.
    """

    def entered() -> T:
        if libc.unshare(CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return function()

    thread = ThreadPoolExecutor(1)
    try:
        return thread.submit(entered)
    finally:
        thread.shutdown(wait=False)


def make_tap(name: str) -> int:
    """Make an interface whose cable's other end is the descriptor that is returned, and which goes with it.

    Raises `OSError`.
    """
    descriptor = os.open(TUN, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def apply_rules(rules: str) -> None:
    """Put rules of nft(8) into force, all of them or none. Raises `OSError`."""
    try:
        done = subprocess.run([NFT, "-f", "-"], input=rules.encode(), capture_output=True, timeout=RULES_LIMIT_S)
    except subprocess.TimeoutExpired as error:
        raise TimeoutError("nft does not end") from error
    if done.returncode:
        raise OSError(f"nft: {done.stderr.decode(errors='replace').strip()[:1_000]}")


def bind(kind: socket.SocketKind, port: int) -> socket.socket:
    """Return a socket on a port of every address, of both families. Raises `OSError`."""
    made = socket.socket(socket.AF_INET6, kind)
    try:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind(("::", port))
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made
