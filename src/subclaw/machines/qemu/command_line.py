"""QEMU's command line.

The machine is a `microvm`. It has a random source, the golden image read-only, the tenant's disk, a virtio-serial port
for the agent, a network device with a cable to its door, and a console that keeps its last 64 KiB in QEMU's memory.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from subclaw.machines.disks.disk import DISK_BYTES
from subclaw.machines.qemu.jail import PROGRAM, Jail
from subclaw_guest.network import MACHINE_HARDWARE
from subclaw_guest.port import NAME as AGENT_PORT

CABLE = f"virtio-net-device,netdev=cable,mac={MACHINE_HARDWARE.hex(':')},guest_announce=off"
"""All have the same hardware address, as it is in the template. A machine that goes on tells nobody that it does."""

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

    `tap` is a descriptor of the cable to its door, see `Door`.

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
    tap: int
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
    tap: int
    incoming: int | None

    def all(self) -> tuple[int, ...]:
        """Return them all."""
        optional = [number for number in (self.initramfs, self.disk, self.incoming) if number is not None]
        return (self.kernel, self.golden, self.memory, self.monitor, self.agent, self.tap, *optional)


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
        *("-netdev", f"tap,id=cable,fd={descriptors.tap},vhost=off", "-device", CABLE),
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
    # With these off the guest's kernel and its libc copy by words: TCG runs string instructions one step at a time.
    return ["-accel", f"tcg,thread=multi,tb-size={TRANSLATION_MB}", "-cpu", "max,erms=off,fsrm=off"]


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
