"""Starting QEMU in its jail with nothing but open descriptors: it needs no path but those of its own program."""

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from subclaw.core.errors import Unavailable
from subclaw.machines.disks.disk import open_disk
from subclaw.machines.qemu.command_line import Acceleration, Descriptors, Launch, arguments
from subclaw.machines.qemu.jail import command_in_jail

SAID_BYTES = 4_096
NOT_STARTED = "The machine could not be started."


@dataclass(frozen=True, kw_only=True)
class Qemu:
    """A QEMU process in its jail, with the host's ends of its monitor and of the agent's port.

    `launcher` is a child of this process, which ends with QEMU. `first_process` is a descriptor (pidfd) of the first
    process in the jail, with whose end all others end. `incoming` is QEMU's number of the file it was given.
    """

    launcher: asyncio.subprocess.Process
    first_process: int
    first_process_id: int
    monitor: socket.socket
    agent: socket.socket
    incoming: int | None

    def close(self) -> None:
        """Let the descriptors go, once it has ended."""
        os.close(self.first_process)
        self.monitor.close()
        self.agent.close()


async def spawn(launch: Launch, on_spawned: Callable[[int], None]) -> Qemu:
    """Start QEMU. Call it from a thread that lives as long as the machine may.

    `on_spawned` is given the first process in the jail before QEMU begins. Raises `Unavailable`, and what it raises.
    """
    monitor, monitor_inside = socket.socketpair()
    agent, agent_inside = socket.socketpair()
    with monitor_inside, agent_inside, contextlib.ExitStack() as ours:
        ours.enter_context(monitor)
        ours.enter_context(agent)
        try:
            with opened(launch, monitor_inside.fileno(), agent_inside.fileno()) as descriptors:
                launcher, process_id = await start_in_jail(launch, descriptors, on_spawned)
        except OSError as error:
            raise Unavailable(NOT_STARTED, internal=f"spawn: {error}") from error
        ours.pop_all()
    return Qemu(
        launcher=launcher,
        first_process=os.pidfd_open(process_id),
        first_process_id=process_id,
        monitor=monitor,
        agent=agent,
        incoming=descriptors.incoming,
    )


async def start_in_jail(
    launch: Launch, descriptors: Descriptors, on_spawned: Callable[[int], None]
) -> tuple[asyncio.subprocess.Process, int]:
    """Start the jail, and QEMU in it once its first process is known. Raises `Unavailable`, `OSError`."""
    with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
        told, telling = pipe(ours, theirs)
        waiting, starting = pipe(theirs, ours)
        with_kvm = launch.accelerator.kind is Acceleration.KVM
        launcher = await asyncio.create_subprocess_exec(
            *command_in_jail(launch.jail, launch.user, with_kvm=with_kvm, information=telling, start=waiting),
            *arguments(launch, descriptors),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=(telling, waiting, *descriptors.all()),
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C"},
        )
        theirs.close()
        try:
            process_id = await first_process_id(launcher, told)
            on_spawned(process_id)
            os.write(starting, b"\n")
        except BaseException:
            await kill(launcher)
            raise
    return launcher, process_id


def pipe(readers: contextlib.ExitStack, writers: contextlib.ExitStack) -> tuple[int, int]:
    """Open a pipe whose two ends are closed with the one stack and with the other."""
    reading, writing = os.pipe()
    readers.callback(os.close, reading)
    writers.callback(os.close, writing)
    return reading, writing


async def first_process_id(launcher: asyncio.subprocess.Process, told: int) -> int:
    """Read what the jail tells of itself, at once. Raises `Unavailable` if it did not open, with what it said."""
    try:
        return int(json.loads(await asyncio.to_thread(read_object, told))["child-pid"])
    except (ValueError, KeyError, TypeError) as error:
        said = await launcher.stderr.read(SAID_BYTES) if launcher.stderr else b""
        reason = f"its jail did not open: {said.decode(errors='replace')}"
        raise Unavailable(NOT_STARTED, internal=reason) from error


def read_object(descriptor: int) -> bytes:
    """Read a JSON object whose closing bracket ends a line, or what there is until the end."""
    text = b""
    while not text.endswith(b"}\n") and (piece := os.read(descriptor, SAID_BYTES)):
        text += piece
    return text


@contextlib.contextmanager
def opened(launch: Launch, monitor: int, agent: int) -> Iterator[Descriptors]:
    """Open a launch's files for as long as it takes to hand them over. Raises `OSError`, `Conflict`."""
    with contextlib.ExitStack() as stack:

        def closing(descriptor: int) -> int:
            stack.callback(os.close, descriptor)
            return descriptor

        def open_file(path: Path) -> int:
            return closing(os.open(path, os.O_RDONLY | os.O_CLOEXEC))

        yield Descriptors(
            kernel=open_file(launch.kernel),
            initramfs=open_file(launch.initramfs) if launch.initramfs else None,
            golden=open_file(launch.golden),
            disk=closing(open_disk(launch.disk)) if launch.disk else None,
            memory=launch.memory.descriptor,
            monitor=monitor,
            agent=agent,
            tap=launch.tap,
            incoming=launch.incoming,
        )


async def end(qemu: Qemu) -> None:
    """Kill QEMU and wait until it is gone: only then may its disk be used again.

    The first process in the jail is waited for as well, in whose end the jail is taken apart: the launcher ends as soon
    as QEMU does, so it may be there for milliseconds more.
    """
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(qemu.first_process, signal.SIGKILL)
    await qemu.launcher.wait()
    await process_end(qemu.first_process)


async def process_end(process: int) -> None:
    """Wait until a process has ended. `process` is a descriptor of it (pidfd), which one at a time may wait for."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(process, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(process)


async def kill(launcher: asyncio.subprocess.Process) -> None:
    """Kill a jail that has not opened, and wait until it is gone."""
    with contextlib.suppress(ProcessLookupError):
        launcher.kill()
    await launcher.wait()
