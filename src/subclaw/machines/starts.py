"""A tenant's files before its machine starts: mended, made if there are none, and the start counted."""

from pathlib import Path

from subclaw.core.tenant import TenantId
from subclaw.machines.checkpoints import mend
from subclaw.machines.disk import disk_error, existing_disk, folder_of, make_disk
from subclaw.machines.record import Record, read_record, write_record


def start_generation(home: Path, tenant_id: TenantId, formatted: Path, image: str) -> tuple[Path, Record]:
    """Count a start of a tenant's machine and return its disk, made if it has none.

    Nothing but the one machine of this generation may use the disk. Raises `Corrupt` if the record is broken or the
    disk is missing, `Exhausted` if the host's disk is full.
    """
    folder = folder_of(home, tenant_id)
    try:
        last = read_record(folder)
        disk = prepare_disk(folder, formatted, last)
        record = Record(
            generation=1 + (last.generation if last else 0),
            image=image,
            refused_image=last.refused_image if last else "",
        )
        write_record(folder, record)
    except OSError as error:
        raise disk_error(error) from error
    return disk, record


def prepare_disk(folder: Path, formatted: Path, last: Record | None) -> Path:
    """Return the disk for a tenant's next machine, before which nothing may write to it.

    `last` is what is recorded of the tenant: without a record the disk is made. A roll-back that was interrupted is
    finished or taken back first. Raises `Corrupt` if there is a record and no disk, `OSError`.
    """
    mend(folder)
    return make_disk(folder, formatted) if last is None else existing_disk(folder)
