"""Checkpoints of a tenant's disk: what it was before a turn, so that the turn can be undone.

They are the files `checkpoints/NNNNNN-LABEL.raw` in the tenant's folder, numbered in order and never written; their
names are all the index there is. A change is a row of operations on files, each of which is done or not: what a crash
leaves half done is mended by the next call here, and before the next start.

Call nothing here while the machine may write to its disk, and make one call at a time for a tenant.
"""

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from subclaw.core.errors import Invalid, NotFound
from subclaw.core.machine import BEFORE_ROLL_BACK
from subclaw.machines.disks.copies import copy_sparse, sync_folder
from subclaw.machines.disks.disk import DISK, disk_error, existing_disk
from subclaw.machines.limits import check_label

CHECKPOINTS = "checkpoints"
CHECKPOINTS_KEPT = 3
UNCHANGED = ".unchanged"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

NAME = re.compile(r"([0-9]{6,12})-([a-z0-9-]{1,64})\.raw")
ROLLING_BACK = re.compile(r"\.rolling-back-to-([0-9]{6,12})\.raw")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A state of a tenant's disk that is kept. A later one has a greater number."""

    number: int
    label: str
    path: Path


def list_checkpoints(folder: Path) -> tuple[Checkpoint, ...]:
    """Return a tenant's checkpoints, the oldest first. Raises `Exhausted` if the host's disk fails."""
    try:
        mend(folder)
        return kept_in(folder)
    except OSError as error:
        raise disk_error(error) from error


def make_checkpoint(folder: Path, label: str) -> Checkpoint:
    """Keep what a tenant's disk is now, under a label such as a turn's id, and forget all but the newest three.

    If there is one of this label, that is returned: a turn that is tried again must not replace the state from before
    it. Raises `Invalid` if the label is not 1 to 64 of a-z, 0-9 and -, or is the one for roll-backs, `Corrupt` if there
    is no disk, `Exhausted` if the host's disk is full; then nothing is left of it.
    """
    check_label(label)
    if label == BEFORE_ROLL_BACK:
        raise Invalid("A checkpoint cannot have this label.", internal=f"label {label!r}")
    try:
        mend(folder)
        kept = kept_in(folder)
        if present := labelled(kept, label):
            return present
        made = checkpoint_at(folder, kept[-1].number + 1 if kept else 1, label)
        keep(existing_disk(folder), made, kept[-1] if kept else None)
        forget_old(folder)
    except OSError as error:
        raise disk_error(error) from error
    return made


def roll_back(folder: Path, label: str) -> None:
    """Make a tenant's disk what it was at a checkpoint, and keep what it was until now as `before-roll-back`.

    The checkpoint becomes the disk, so it is no longer listed; newer ones and an earlier `before-roll-back` go. It is
    only renamed, unless an older checkpoint is the same file: then it is copied. Raises `NotFound`, `Corrupt` if there
    is no disk, and `Exhausted` if the host's disk is full; then the disk is what it was.
    """
    try:
        mend(folder)
        kept = kept_in(folder)
        target = labelled(kept, label)
        if target is None:
            raise NotFound("There is no such checkpoint.", internal=f"{folder}: no checkpoint {label!r}")
        disk = existing_disk(folder)
        target.path.with_name(UNCHANGED).unlink(missing_ok=True)
        # From here to the next rename the disk has a second name, by which `mend` knows that nothing has changed yet.
        before = target.path.with_name(f".rolling-back-to-{target.number:06d}.raw")
        os.link(disk, before)
        sync_folder(before.parent)
        if is_needed_elsewhere(target, kept):
            copy_sparse(target.path, disk)
        else:
            target.path.rename(disk)
            sync_folder(folder)
        finish_roll_back(folder, before, target.number)
    except OSError as error:
        with contextlib.suppress(OSError):
            mend(folder)
        raise disk_error(error) from error


def mend(folder: Path) -> None:
    """Finish or take back what was interrupted in a tenant's folder. Nothing happens if there is none.

    It must come before a machine starts: until then the disk may be the same file as a checkpoint. Raises `OSError`.
    """
    (folder / f".{DISK}.new").unlink(missing_ok=True)
    for path in sorted((folder / CHECKPOINTS).glob(".*")):
        if path.suffix == ".new":
            path.unlink()
        elif rolling_back := ROLLING_BACK.fullmatch(path.name):
            if path.samefile(folder / DISK):
                path.unlink()
            else:
                finish_roll_back(folder, path, int(rolling_back[1]))
    forget_old(folder)


def forget_old(folder: Path) -> None:
    """Remove all checkpoints but the newest ones. Raises `OSError`."""
    for old in kept_in(folder)[:-CHECKPOINTS_KEPT]:
        old.path.unlink()


def finish_roll_back(folder: Path, before: Path, number: int) -> None:
    """Do what is left once the disk is what it was at checkpoint `number`. Raises `OSError`."""
    for old in kept_in(folder):
        if old.number >= number or old.label == BEFORE_ROLL_BACK:
            old.path.unlink()
    before.rename(checkpoint_at(folder, number, BEFORE_ROLL_BACK).path)
    sync_folder(before.parent)


def kept_in(folder: Path) -> tuple[Checkpoint, ...]:
    """Return the checkpoints that are there, the oldest first."""
    names = [path.name for path in (folder / CHECKPOINTS).glob("*.raw")]
    found = [checkpoint_at(folder, int(match[1]), match[2]) for name in names if (match := NAME.fullmatch(name))]
    return tuple(sorted(found, key=lambda checkpoint: checkpoint.number))


def checkpoint_at(folder: Path, number: int, label: str) -> Checkpoint:
    """Return a checkpoint with the path that its number and label give it."""
    return Checkpoint(number=number, label=label, path=folder / CHECKPOINTS / f"{number:06d}-{label}.raw")


def labelled(kept: tuple[Checkpoint, ...], label: str) -> Checkpoint | None:
    """Return the checkpoint of a label."""
    return next((checkpoint for checkpoint in kept if checkpoint.label == label), None)


def is_needed_elsewhere(target: Checkpoint, kept: tuple[Checkpoint, ...]) -> bool:
    """Say whether a checkpoint's file has names besides its own and those of newer checkpoints, which will go."""
    going = sum(other.number >= target.number and other.path.samefile(target.path) for other in kept)
    return target.path.stat().st_nlink > going


def keep(disk: Path, made: Checkpoint, newest: Checkpoint | None) -> None:
    """Make a checkpoint's file: another name of the newest one's if nothing was written since. Raises `OSError`."""
    note = made.path.with_name(UNCHANGED)
    if newest is not None and note.exists() and note.read_bytes() == fingerprint(disk, newest):
        os.link(newest.path, made.path)
        sync_folder(made.path.parent)
        return
    if not made.path.parent.exists():
        made.path.parent.mkdir(mode=0o700)
        sync_folder(disk.parent)
    # Set back, so that the next write changes the time of the disk even if it comes in the same tick of the clock.
    written = disk.stat()
    os.utime(disk, ns=(written.st_atime_ns, written.st_mtime_ns - 1))
    copy_sparse(disk, made.path)
    with contextlib.suppress(OSError):  # without it the next checkpoint is a copy too
        note.write_bytes(fingerprint(disk, made))


def fingerprint(disk: Path, newest: Checkpoint) -> bytes:
    """Return what is the same as long as a disk is as its newest checkpoint has it.

    The host's boot is a part of it: after a loss of power data may be there whose time of writing is not.
    """
    written = disk.stat()
    parts = (written.st_ino, written.st_mtime_ns, written.st_size, newest.path.stat().st_ino)
    return BOOT_ID.read_bytes() + " ".join(map(str, parts)).encode()
