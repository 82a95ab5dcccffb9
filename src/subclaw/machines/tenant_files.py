"""What the host can say of a tenant's files and process, and keep of them, without asking the machine."""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from subclaw.core.errors import Exhausted, NotFound
from subclaw.core.machine import Checkpoint, MachineState, MachineStats
from subclaw.core.tenant import TenantId
from subclaw.machines.disks import checkpoints
from subclaw.machines.disks.disk import DISK, folder_of, make_disk, used_bytes
from subclaw.machines.disks.record import read_record
from subclaw.machines.qemu.processes import memory_of, processor_time_of
from subclaw.machines.qemu.snapshot import read_snapshot

BLOCK_BYTES = 512
ROOM_BYTES = 1024**3
"""What stays free of the host's disk when a checkpoint is made, also if it shares no block with the disk."""


def keep_disk(home: Path, tenant_id: TenantId, label: str, formatted: Path) -> None:
    """Make a checkpoint, of an empty disk if the tenant has none yet. Nothing may write to the disk meanwhile.

    Raises `Exhausted` if the host has no room for it, `Corrupt`, `OSError`.
    """
    folder = folder_of(home, tenant_id)
    if read_record(folder) is None:
        make_disk(folder, formatted)
    needed = (folder / DISK).stat().st_blocks * BLOCK_BYTES if (folder / DISK).exists() else 0
    if shutil.disk_usage(home).free < needed + ROOM_BYTES:
        raise Exhausted("The host's disk has no room for a checkpoint.", internal=f"{needed} bytes for {folder}")
    checkpoints.make_checkpoint(folder, label)


def described(checkpoint: checkpoints.Checkpoint) -> Checkpoint:
    """Say what there is to say of a checkpoint. Raises `OSError`."""
    status = checkpoint.path.stat()
    return Checkpoint(
        label=checkpoint.label,
        made_at=datetime.fromtimestamp(status.st_mtime, UTC),
        size_bytes=status.st_blocks * BLOCK_BYTES,
    )


def stats_of(home: Path, tenant_id: TenantId, process_id: int | None) -> MachineStats:
    """Say what a tenant's machine is and uses; `process_id` is QEMU's, None if it sleeps.

    Raises `NotFound` if the tenant never had one, `Corrupt`, `OSError`.
    """
    folder = folder_of(home, tenant_id)
    record = read_record(folder)
    if record is None:
        raise NotFound("This tenant has no machine yet.")
    asleep = MachineState.ASLEEP if read_snapshot(folder) is None else MachineState.ASLEEP_WITH_MEMORY
    return MachineStats(
        state=asleep if process_id is None else MachineState.AWAKE,
        generation=record.generation,
        image=record.image,
        disk_used_bytes=used_bytes(folder),
        disk_size_bytes=os.stat(folder / DISK).st_size,
        memory_bytes=None if process_id is None else memory_of(process_id),
        processor_s=None if process_id is None else processor_time_of(process_id),
        checkpoints=len(checkpoints.kept_in(folder)),
    )
