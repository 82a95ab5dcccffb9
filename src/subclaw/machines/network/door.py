"""A machine's door: a network namespace with the host's end of its cable, from where all leads to two sockets."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass

from subclaw.core.errors import Unavailable
from subclaw.machines.network.namespace import apply_rules, bind, in_new_namespace, make_tap
from subclaw.machines.network.rules import RULES, TAP, TCP_PORT, UDP_PORT
from subclaw_guest.network import DOOR_ADDRESSES, DOOR_HARDWARE, MACHINE_ADDRESSES, MACHINE_HARDWARE, connect

BACKLOG = 256
"""How many connections may wait until the gateway takes them, or until there is one."""


@dataclass(frozen=True, kw_only=True)
class Door:
    """One machine's door. `tap` is the machine's end of the cable, a descriptor for QEMU.

    Whatever the machine connects to arrives at `listener`; whatever it asks a name server at `questions`. Nothing of
    the host can be reached, and it can reach nothing: no other interface, no route, no forwarding.
    """

    tap: int
    listener: socket.socket
    questions: socket.socket

    def shut(self) -> None:
        """Close the sockets: unless somebody else has them too, the kernel turns everything away at once."""
        self.listener.close()
        self.questions.close()

    def close(self) -> None:
        """Let it go. It is gone when QEMU has ended, and whoever else has its sockets has closed them."""
        self.shut()
        os.close(self.tap)


@asynccontextmanager
async def opened_door() -> AsyncIterator[Door]:
    """Make a door that lasts as long as the block, and as what was started with its tap. Raises `Unavailable`."""
    door = await new_door()
    try:
        yield door
    finally:
        close_door(door)


async def new_door() -> Door:
    """Make a door, to be closed by the caller. Raises `Unavailable`."""
    making = in_new_namespace(furnish)
    try:
        return await asyncio.wrap_future(making)
    except asyncio.CancelledError:
        # The thread goes on, and what it makes must not be left over.
        making.add_done_callback(close_unwanted)
        raise
    except OSError as error:
        raise Unavailable("The machine's network could not be made.", internal=f"network: {error}") from error


def close_unwanted(making: Future[Door]) -> None:
    """Close a door that nobody waits for any more."""
    if not making.cancelled() and making.exception() is None:
        making.result().close()


def close_door(door: Door) -> None:
    """Let a door go in a thread, for which nobody waits: taking a tap away takes the kernel tens of milliseconds."""
    asyncio.get_running_loop().run_in_executor(None, door.close)


def make_door() -> Door:
    """Make a door; this blocks. Raises `OSError`."""
    return in_new_namespace(furnish).result()


def furnish() -> Door:
    """Make a door of the network namespace that this thread is in. Raises `OSError`."""
    with ExitStack() as stack:
        tap = make_tap(TAP)
        stack.callback(os.close, tap)
        # The rules come first: there is no moment in which anything else passes.
        apply_rules(RULES)
        connect(TAP, DOOR_HARDWARE, DOOR_ADDRESSES, MACHINE_ADDRESSES, MACHINE_HARDWARE)
        listener = stack.enter_context(bind(socket.SOCK_STREAM, TCP_PORT))
        listener.listen(BACKLOG)
        questions = stack.enter_context(bind(socket.SOCK_DGRAM, UDP_PORT))
        stack.pop_all()
    return Door(tap=tap, listener=listener, questions=questions)
