"""A cable from a door, with the rules that every machine's has, to a network that stands for a machine."""

import ctypes
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from subclaw.machines.network.namespace import CLONE_NEWNET, apply_rules, bind
from subclaw.machines.network.rules import RULES, TAP, TCP_PORT, UDP_PORT
from subclaw_guest.network import (
    DOOR_ADDRESSES,
    DOOR_HARDWARE,
    INTERFACE,
    MACHINE_ADDRESSES,
    MACHINE_HARDWARE,
    connect,
    take_cable,
)

T = TypeVar("T")
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, kw_only=True)
class Cable:
    """`inside` runs a command within the machine's network."""

    listener: socket.socket
    questions: socket.socket
    inside: tuple[str, ...]


@contextmanager
def cable() -> Iterator[Cable]:
    """Make a cable for a block."""
    door, machine = f"door-{os.getpid()}", f"machine-{os.getpid()}"
    for name in (door, machine):
        _ip("netns", "add", name)
    try:
        _ip("link", "add", TAP, "netns", door, "type", "veth", "peer", "name", INTERFACE, "netns", machine)
        hardware = MACHINE_HARDWARE.hex(":")
        _ip("-n", machine, "link", "set", INTERFACE, "address", hardware)
        listener, questions = _in_namespace(door, _furnish)
        _in_namespace(machine, take_cable)
        try:
            yield Cable(listener=listener, questions=questions, inside=("ip", "netns", "exec", machine))
        finally:
            listener.close()
            questions.close()
    finally:
        for name in (door, machine):
            _ip("netns", "delete", name)


def _furnish() -> tuple[socket.socket, socket.socket]:
    apply_rules(RULES)
    connect(TAP, DOOR_HARDWARE, DOOR_ADDRESSES, MACHINE_ADDRESSES, MACHINE_HARDWARE)
    listener, questions = bind(socket.SOCK_STREAM, TCP_PORT), bind(socket.SOCK_DGRAM, UDP_PORT)
    listener.listen(64)
    return listener, questions


def _in_namespace(name: str, function: Callable[[], T]) -> T:
    """Call a function in a thread that is in a network namespace, and in nothing else afterwards."""

    def entered() -> T:
        with open(f"/run/netns/{name}", "rb") as namespace:
            if _libc.setns(namespace.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        return function()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(entered).result()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=10)
