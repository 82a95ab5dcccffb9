"""The one cold boot of a golden image on a host: what comes of it is a template."""

import asyncio
import json
import logging
import os
import secrets
import tempfile
import time
from pathlib import Path

from subclaw.core.errors import SubclawError, Unavailable
from subclaw.core.machine import Command
from subclaw.machines.disks.copies import sync_folder
from subclaw.machines.guest.guest import GuestBroken
from subclaw.machines.images.image import Image
from subclaw.machines.network.door import opened_door
from subclaw.machines.qemu.command_line import Launch, Memory
from subclaw.machines.qemu.memory import blank_memory, keep_memory
from subclaw.machines.qemu.running import Running, running
from subclaw.machines.qemu.seats import Seat
from subclaw.machines.qemu.template import (
    DEVICES,
    KERNEL_HEAD,
    MANIFEST,
    MEMORY,
    TEMPLATES,
    UNFINISHED,
    WARM,
    Hardware,
    template_key,
)

KERNEL_HEAD_BYTES = 65_536
"""As much of a kernel as QEMU looks at."""

WARM_S = 60.0

logger = logging.getLogger(__name__)


async def make_template(image: Image, hardware: Hardware, cache: Path, seat: Seat, boot_timeout_s: float) -> str:
    """Boot a machine, save it when it waits, and return the new template's id. Raises `Unavailable`."""
    began_s = time.monotonic()
    template_id = secrets.token_hex(16)
    try:
        (cache / TEMPLATES).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=cache / TEMPLATES) as name:
            made = Path(name) / "made"
            made.mkdir(mode=0o755)
            last_stream = await boot_and_save(image, hardware, made, seat, boot_timeout_s)
            keep_kernel_head(image.kernel, made / KERNEL_HEAD)
            manifest = {"key": template_key(image, hardware), "image": image.digest, "last_stream": last_stream}
            (made / MANIFEST).write_text(json.dumps(manifest), "utf-8")
            made.rename(cache / TEMPLATES / template_id)
        sync_folder(cache / TEMPLATES)
    except OSError as error:
        raise Unavailable("The template of machines cannot be made.", internal=str(error)) from error
    logger.info("a template of image %s was made in %.1f s", image.digest[:12], time.monotonic() - began_s)
    return template_id


def keep_kernel_head(kernel: Path, target: Path) -> None:
    """Copy the head of a kernel, for the users of all machines to open. Raises `OSError`."""
    with kernel.open("rb") as file:
        target.write_bytes(file.read(KERNEL_HEAD_BYTES))
    target.chmod(0o444)


async def boot_and_save(image: Image, hardware: Hardware, folder: Path, seat: Seat, boot_timeout_s: float) -> int:
    """Boot a machine in memory of its own and save it; return its agent's last stream.

    Raises `Unavailable`, `OSError`.
    """
    memory = blank_memory(hardware.memory_mb)
    try:
        async with opened_door() as door:
            launch = Launch(
                name=seat.name,
                kernel=image.kernel,
                initramfs=image.initramfs,
                golden=image.golden,
                disk=None,
                accelerator=hardware.accelerator,
                memory=Memory(descriptor=memory, size_mb=hardware.memory_mb, shared=True),
                jail=hardware.jail,
                user=seat.user,
                tap=door.tap,
            )
            last_stream = await booted(launch, seat, folder / DEVICES, boot_timeout_s)
        await asyncio.to_thread(keep_memory, memory, folder / MEMORY)
    finally:
        os.close(memory)
    return last_stream


async def booted(launch: Launch, seat: Seat, devices: Path, boot_timeout_s: float) -> int:
    """Boot a machine until its agent waits, save its devices and end it; return the agent's last stream.

    Raises `Unavailable` with what it wrote on its console: nobody's words can be there.
    """
    async with asyncio.TaskGroup() as group:
        failure: SubclawError | None = None
        last_stream = 0
        try:
            async with running(launch, group, on_spawned=seat.take) as machine:
                try:
                    last_stream = await saved(machine, devices, boot_timeout_s)
                except GuestBroken as error:
                    said = f"{error}; console: {await machine.monitor.console()}"
                    raise Unavailable("A machine does not start on this host.", internal=said) from error
        except SubclawError as error:  # caught here, so that the group raises it as it is
            failure = error
    if failure is not None:
        raise failure
    return last_stream


async def saved(machine: Running, devices: Path, boot_timeout_s: float) -> int:
    """Warm a machine up, stop it and save its devices. Raises `GuestBroken`, `Unavailable`, `OSError`."""
    await machine.guest.ping(timeout_s=boot_timeout_s)
    await machine.guest.run(Command(text=WARM, timeout_s=WARM_S))
    await machine.guest.rehearse(timeout_s=WARM_S)
    await machine.monitor.stop()
    with devices.open("wb") as file:
        await machine.monitor.save_devices_beside_shared_memory(file.fileno())
        os.fsync(file.fileno())
    return machine.link.last_number
