"""QEMU's command line, and starting it in its jail with nothing but descriptors.

The machine is a `microvm` with no network device. It has a random source, the golden image read-only, the tenant's
disk, a virtio-serial port for the agent, and a console that keeps its last 64 KiB in QEMU's memory. QEMU is given every
file and socket open, so it needs no path but those of its own program.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from subclaw.core.errors import Unavailable
from subclaw.machines.disks.disk import DISK_BYTES, open_disk
from subclaw.machines.qemu.jail import PROGRAM, Jail, command_in_jail
from subclaw_guest.port import NAME as AGENT_PORT

CONSOLE = "console"
CONSOLE_BYTES = 65_536
DISK_NODE = "disk"
TRANSLATION_MB = 64
"""TCG's cache of translated code: 64 is as fast as 512, 32 is two to four times slower."""

DENIED = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
MACHINE = "microvm,acpi=on,rtc=on,pit=off,pic=off,isa-serial=on,memory-backend=memory,suppress-vmdesc=on"
"""The description of the device state is left out of what is saved, as it is where QEMU saves devices alone."""

KERNEL_LINE = "console=ttyS0 reboot=t panic=-1 quiet init_on_free=1"
"""What the kernel frees is zeroed, so that a template holds only what is in use."""

SAID_BYTES = 4_096
NOT_STARTED = "The machine could not be started."


class Acceleration(StrEnum):
    """How QEMU runs a machine's instructions."""

    KVM = "kvm"
    TCG = "tcg"


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """What was found to work on this host. `tsc_khz` is the rate of its time stamp counter."""

    kind: Acceleration
    tsc_khz: int


@dataclass(frozen=True, kw_only=True)
class Memory:
    """A machine's memory: an open file that it writes to if it is `shared`, and else only reads, copying on write."""

    descriptor: int
    size_mb: int
    shared: bool


@dataclass(frozen=True, kw_only=True)
class Launch:
    """A QEMU process to start. `name` is its own and shows in its command line; `user` is the number it runs as.

    Without a `disk` it gets one later. With `incoming`, an open file, it does not boot: it waits to be told to load the
    state of its devices from there. Then it has no use for an `initramfs`, and the head of the `kernel` will do: QEMU
    keeps both in memory.
    """

    name: str
    kernel: Path
    initramfs: Path | None
    golden: Path
    disk: Path | None
    accelerator: Accelerator
    memory: Memory
    jail: Jail
    user: int
    incoming: int | None = None


@dataclass(frozen=True, kw_only=True)
class Descriptors:
    """The numbers of the open files and sockets that a QEMU process inherits."""

    kernel: int
    initramfs: int | None
    golden: int
    disk: int | None
    memory: int
    monitor: int
    agent: int
    incoming: int | None

    def all(self) -> tuple[int, ...]:
        """Return them all."""
        optional = [number for number in (self.initramfs, self.disk, self.incoming) if number is not None]
        return (self.kernel, self.golden, self.memory, self.monitor, self.agent, *optional)


@dataclass(frozen=True, kw_only=True)
class Qemu:
    """A QEMU process in its jail, with the host's ends of its monitor and of the agent's port.

    `launcher` is a child of this process, which ends when the jail is empty. `first_process` is a descriptor (pidfd) of
    the first process in the jail, with whose end all others end. `incoming` is QEMU's number of the file it was given.
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


def arguments(launch: Launch, descriptors: Descriptors) -> list[str]:
    """Return QEMU's command line. Devices, their order and their ids are part of what a template is keyed by."""
    return [
        *(f"/usr/bin/{PROGRAM}", "-name", launch.name, "-nodefaults", "-no-user-config", "-display", "none"),
        *("-no-reboot", "-sandbox", DENIED, *hardware(launch.accelerator, launch.memory, descriptors.memory)),
        *("-kernel", f"/proc/self/fd/{descriptors.kernel}", "-append", kernel_line(launch.accelerator)),
        *(("-initrd", f"/proc/self/fd/{descriptors.initramfs}") if descriptors.initramfs is not None else ()),
        *("-object", "rng-builtin,id=random", "-device", "virtio-rng-device,rng=random"),
        *drive("golden", descriptors.golden, 1, "read-only=on"),
        *(drive(DISK_NODE, descriptors.disk, 2, "discard=unmap") if descriptors.disk is not None else no_disk()),
        *("-chardev", f"ringbuf,id={CONSOLE},size={CONSOLE_BYTES}", "-serial", f"chardev:{CONSOLE}"),
        *("-chardev", f"socket,id=monitor,fd={descriptors.monitor}", "-mon", "chardev=monitor,mode=control"),
        *("-chardev", f"socket,id=agent,fd={descriptors.agent}", "-device", "virtio-serial-device,max_ports=2"),
        *("-device", f"virtserialport,chardev=agent,name={AGENT_PORT}"),
        *(["-S", "-incoming", "defer"] if launch.incoming is not None else []),
    ]


def hardware(accelerator: Accelerator, memory: Memory, descriptor: int) -> list[str]:
    """Return the machine type, its memory and its processor."""
    share = "on" if memory.shared else "off"
    return [
        *("-M", MACHINE, "-m", f"{memory.size_mb}M", "-smp", "1"),
        "-object",
        f"memory-backend-file,id=memory,size={memory.size_mb}M,mem-path=/proc/self/fd/{descriptor},share={share}",
        *acceleration(accelerator),
        *("-global", "virtio-mmio.force-legacy=false", "-global", "migration.send-configuration=off"),
    ]


def acceleration(accelerator: Accelerator) -> list[str]:
    """Return the accelerator and the processor that fits it."""
    if accelerator.kind is Acceleration.KVM:
        return ["-accel", "kvm", "-cpu", "host"]
    # Without ERMS the guest's kernel and its libc copy by words: TCG runs string instructions one step at a time.
    return ["-accel", f"tcg,thread=multi,tb-size={TRANSLATION_MB}", "-cpu", "max,erms=off"]


def kernel_line(accelerator: Accelerator) -> str:
    """Return the kernel's command line. Under TCG the kernel would hang while it measures its clocks: tell it."""
    if accelerator.kind is Acceleration.KVM:
        return KERNEL_LINE
    return f"{KERNEL_LINE} tsc_early_khz={accelerator.tsc_khz} tsc=reliable no_timer_check"


def drive(name: str, descriptor: int, number: int, options: str) -> list[str]:
    """Return a virtio disk on a raw file that is open already."""
    file = f"driver=file,node-name={name}-file,filename=/dev/fdset/{number},{options}"
    return ["-add-fd", f"fd={descriptor},set={number},opaque={name}", *virtio_disk(name, file, options)]


def no_disk() -> list[str]:
    """Return a virtio disk behind which there is nothing yet: the file is put there when the machine gets a tenant."""
    file = f"driver=null-co,node-name={DISK_NODE}-file,size={DISK_BYTES},read-zeroes=on"
    return virtio_disk(DISK_NODE, file, "discard=unmap")


def virtio_disk(name: str, file: str, options: str) -> list[str]:
    """Return a virtio disk whose content comes from a file node."""
    return [
        *("-blockdev", file, "-blockdev", f"driver=raw,node-name={name},file={name}-file,{options}"),
        *("-device", f"virtio-blk-device,drive={name},id={name}-device,serial={name}"),
    ]


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
            incoming=launch.incoming,
        )


async def end(qemu: Qemu) -> None:
    """Kill QEMU and wait until it is gone: only then may its disk be used again."""
    if qemu.launcher.returncode is None:
        # The launcher ends when its jail is empty; killed itself, it would be gone before QEMU is.
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(qemu.first_process, signal.SIGKILL)
        await qemu.launcher.wait()


async def kill(launcher: asyncio.subprocess.Process) -> None:
    """Kill a jail that has not opened, and wait until it is gone."""
    with contextlib.suppress(ProcessLookupError):
        launcher.kill()
    await launcher.wait()
