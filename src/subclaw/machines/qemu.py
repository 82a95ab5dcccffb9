"""QEMU's command line, and starting it with nothing but descriptors.

The machine is a `microvm` with no network device. It has a random source, the golden image read-only, the tenant's
disk, a virtio-serial port for the agent, and a console that keeps its last 64 KiB in QEMU's memory. QEMU is given every
file and socket open, so it needs no path of this host but its own firmware.
"""

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from subclaw.core.errors import Unavailable
from subclaw.machines.image import Image
from subclaw_guest.port import NAME as AGENT_PORT

PROGRAM = "qemu-system-x86_64"
KVM = Path("/dev/kvm")
CONSOLE = "console"
CONSOLE_BYTES = 65_536
TRANSLATION_MB = 64
"""TCG's cache of translated code: 64 is as fast as 512, 32 is two to four times slower."""

DENIED = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
MACHINE = "microvm,acpi=on,rtc=on,pit=off,pic=off,isa-serial=on"
KERNEL_LINE = "console=ttyS0 reboot=t panic=-1 quiet"


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
class Owner:
    """The user and group that a QEMU process runs as."""

    user_id: int
    group_id: int


@dataclass(frozen=True, kw_only=True)
class Launch:
    """A QEMU process to start. `name` is its own and shows in its command line; `owner` is None to keep this user."""

    name: str
    image: Image
    disk: Path
    accelerator: Accelerator
    memory_mb: int
    owner: Owner | None


@dataclass(frozen=True, kw_only=True)
class Descriptors:
    """The numbers of the open files and sockets that a QEMU process inherits."""

    kernel: int
    initramfs: int
    golden: int
    disk: int
    monitor: int
    agent: int

    def all(self) -> tuple[int, ...]:
        """Return them all."""
        return (self.kernel, self.initramfs, self.golden, self.disk, self.monitor, self.agent)


@dataclass(frozen=True, kw_only=True)
class Qemu:
    """A QEMU process, with the host's ends of its monitor and of the agent's port."""

    process: asyncio.subprocess.Process
    monitor: socket.socket
    agent: socket.socket


def arguments(launch: Launch, descriptors: Descriptors, groups: Sequence[int]) -> list[str]:
    """Return the command line. `groups` are all that an owner other than this user is in, beside its own.

    Devices, their order and their ids are part of what a template is keyed by.
    """
    return [
        *privileges(launch.owner, groups),
        *(PROGRAM, "-name", launch.name, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-sandbox", DENIED, "-M", MACHINE, "-m", f"{launch.memory_mb}M", "-smp", "1"),
        *acceleration(launch.accelerator),
        *("-global", "virtio-mmio.force-legacy=false"),
        *("-kernel", f"/proc/self/fd/{descriptors.kernel}", "-initrd", f"/proc/self/fd/{descriptors.initramfs}"),
        *("-append", kernel_line(launch.accelerator)),
        *("-object", "rng-builtin,id=random", "-device", "virtio-rng-device,rng=random"),
        *drive("golden", descriptors.golden, 1, "read-only=on"),
        *drive("disk", descriptors.disk, 2, "discard=unmap"),
        *("-chardev", f"ringbuf,id={CONSOLE},size={CONSOLE_BYTES}", "-serial", f"chardev:{CONSOLE}"),
        *("-chardev", f"socket,id=monitor,fd={descriptors.monitor}", "-mon", "chardev=monitor,mode=control"),
        *("-chardev", f"socket,id=agent,fd={descriptors.agent}", "-device", "virtio-serial-device,max_ports=2"),
        *("-device", f"virtserialport,chardev=agent,name={AGENT_PORT}"),
    ]


def privileges(owner: Owner | None, groups: Sequence[int]) -> list[str]:
    """Return what QEMU is started through: it ends with the thread that started it, and can never gain a privilege."""
    changed: list[str] = []
    if owner is not None:
        others = f"--groups={','.join(map(str, groups))}" if groups else "--clear-groups"
        changed = [f"--reuid={owner.user_id}", f"--regid={owner.group_id}", others]
    return ["setpriv", *changed, "--no-new-privs", "--pdeathsig=KILL", "--"]


def groups_for(accelerator: Accelerator) -> list[int]:
    """Return the group that may open KVM's device, if QEMU needs it and there is one but root's."""
    if accelerator.kind is not Acceleration.KVM:
        return []
    try:
        group = KVM.stat().st_gid
    except OSError:
        return []
    return [group] if group else []


def acceleration(accelerator: Accelerator) -> list[str]:
    """Return the accelerator and the processor that fits it."""
    if accelerator.kind is Acceleration.KVM:
        return ["-accel", "kvm", "-cpu", "host"]
    return ["-accel", f"tcg,thread=multi,tb-size={TRANSLATION_MB}", "-cpu", "max"]


def kernel_line(accelerator: Accelerator) -> str:
    """Return the kernel's command line. Under TCG the kernel would hang while it measures its clocks: tell it."""
    if accelerator.kind is Acceleration.KVM:
        return KERNEL_LINE
    return f"{KERNEL_LINE} tsc_early_khz={accelerator.tsc_khz} tsc=reliable no_timer_check"


def drive(name: str, descriptor: int, number: int, options: str) -> list[str]:
    """Return a virtio disk on a raw file that is open already."""
    return [
        *("-add-fd", f"fd={descriptor},set={number},opaque={name}"),
        *("-blockdev", f"driver=file,node-name={name}-file,filename=/dev/fdset/{number},{options}"),
        *("-blockdev", f"driver=raw,node-name={name},file={name}-file,{options}"),
        *("-device", f"virtio-blk-device,drive={name},id={name}-device,serial={name}"),
    ]


async def spawn(launch: Launch) -> Qemu:
    """Start QEMU. Call it from a thread that lives as long as the machine may. Raises `Unavailable`."""
    if not shutil.which(PROGRAM):
        raise Unavailable("Machines need QEMU: apt-get install qemu-system-x86")
    monitor, monitor_inside = socket.socketpair()
    agent, agent_inside = socket.socketpair()
    with monitor_inside, agent_inside, contextlib.ExitStack() as ours:
        ours.enter_context(monitor)
        ours.enter_context(agent)
        try:
            with opened(launch, monitor_inside.fileno(), agent_inside.fileno()) as descriptors:
                process = await asyncio.create_subprocess_exec(
                    *arguments(launch, descriptors, groups_for(launch.accelerator)),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.PIPE,
                    pass_fds=descriptors.all(),
                    cwd="/",
                    env={"PATH": os.defpath, "LC_ALL": "C"},
                )
        except OSError as error:
            raise Unavailable("The machine could not be started.", internal=f"spawn: {error}") from error
        ours.pop_all()
    return Qemu(process=process, monitor=monitor, agent=agent)


@contextlib.contextmanager
def opened(launch: Launch, monitor: int, agent: int) -> Iterator[Descriptors]:
    """Open a launch's files for as long as it takes to hand them over. Raises `OSError`."""
    with contextlib.ExitStack() as stack:

        def open_file(path: Path, flags: int) -> int:
            descriptor = os.open(path, flags | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            return descriptor

        yield Descriptors(
            kernel=open_file(launch.image.kernel, os.O_RDONLY),
            initramfs=open_file(launch.image.initramfs, os.O_RDONLY),
            golden=open_file(launch.image.golden, os.O_RDONLY),
            disk=open_file(launch.disk, os.O_RDWR),
            monitor=monitor,
            agent=agent,
        )
