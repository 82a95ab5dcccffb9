"""Finding out how this host can run machines: by a real boot, because /dev/kvm may open and still not run a kernel."""

import asyncio
import ctypes
import hashlib
import json
import logging
import mmap
import os
import subprocess
import time
from pathlib import Path

from subclaw.core.errors import SubclawError, Unavailable
from subclaw.machines.images.image import Image
from subclaw.machines.qemu.boot import make_template
from subclaw.machines.qemu.command_line import Acceleration, Accelerator
from subclaw.machines.qemu.jail import KVM, PROGRAM, Jail
from subclaw.machines.qemu.seats import Seats
from subclaw.machines.qemu.template import Hardware

VERDICT = "accelerator.json"
BOOT_LIMIT_S = {Acceleration.KVM: 10.0, Acceleration.TCG: 90.0}
MEASURE_S = 0.05
RDTSC = b"\x0f\x31\x48\xc1\xe2\x20\x48\x09\xd0\xc3"
"""x86-64 code of `uint64_t tsc(void)`: rdtsc; shl rdx, 32; or rax, rdx; ret."""

logger = logging.getLogger(__name__)


async def probe_accelerator(image: Image, cache: Path, jail: Jail, seats: Seats, *, memory_mb: int) -> Accelerator:
    """Return the best accelerator that boots the image, from the cache if nothing has changed since it was found.

    Tries KVM, then TCG, each within a time limit; the machine that boots becomes a template. Raises `Unavailable` if
    none boots.
    """
    key = await verdict_key(image)
    verdict = read_verdict(cache, key)
    tsc_khz = await asyncio.to_thread(measure_tsc_khz)
    if verdict is not None:
        return Accelerator(kind=verdict, tsc_khz=tsc_khz)
    reason = ""
    for kind in [Acceleration.KVM, Acceleration.TCG] if has_kvm() else [Acceleration.TCG]:
        accelerator = Accelerator(kind=kind, tsc_khz=tsc_khz)
        hardware = Hardware(accelerator=accelerator, memory_mb=memory_mb, jail=jail)
        try:
            with seats.taken() as seat:
                await make_template(image, hardware, cache, seat, BOOT_LIMIT_S[kind])
        except SubclawError as error:
            reason = error.internal
            logger.info("a machine does not boot under %s: %s", kind.value, reason)
        else:
            write_verdict(cache, key, kind)
            return accelerator
    raise Unavailable("QEMU cannot run a machine on this host.", internal=reason)


async def verdict_key(image: Image) -> str:
    """Return a digest of what an accelerator's working depends on: QEMU, the host's kernel and processor, the image.

    Raises `Unavailable` if there is no QEMU.
    """
    return await asyncio.to_thread(digest_of_host, image)


def digest_of_host(image: Image) -> str:
    """Do what `verdict_key` says; this blocks."""
    try:
        version = subprocess.run([PROGRAM, "--version"], capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable("Machines need QEMU: apt-get install qemu-system-x86", internal=str(error)) from error
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    processor = [line for line in lines if line.startswith("model name")][:1]
    host = os.uname()
    parts = [version.decode(errors="replace"), host.release, host.version, *processor, image.digest, str(has_kvm())]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def has_kvm() -> bool:
    """Say whether this host has KVM's device, which does not mean that it works."""
    return KVM.exists()


def read_verdict(cache: Path, key: str) -> Acceleration | None:
    """Return what was found before under the same key. A verdict that cannot be read is none."""
    try:
        fields = json.loads((cache / VERDICT).read_bytes())
        return Acceleration(fields["kind"]) if fields["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_verdict(cache: Path, key: str, kind: Acceleration) -> None:
    """Remember what was found."""
    new = cache / f".{VERDICT}.{os.getpid()}"
    new.write_text(json.dumps({"key": key, "kind": kind.value}), "utf-8")
    new.rename(cache / VERDICT)


def measure_tsc_khz() -> int:
    """Measure the rate of the processor's time stamp counter against the monotonic clock, for 50 ms."""
    with mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as memory:
        memory.write(RDTSC)
        code = ctypes.c_char.from_buffer(memory)
        read_tsc = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(code))
        first, first_ns = read_tsc(), time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        time.sleep(MEASURE_S)
        last, last_ns = read_tsc(), time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        del code, read_tsc
    return int((last - first) * 1_000_000 / (last_ns - first_ns))
