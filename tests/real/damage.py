"""Damaging a disk, so that its file system cannot be mounted and can be repaired without the loss of a file."""

import os
from pathlib import Path

GROUP_DESCRIPTORS = 4096
"""Where an ext4 file system with blocks of 4096 bytes keeps its first block of group descriptors."""


def damage(disk: Path) -> None:
    """Overwrite the group descriptors of a disk that no machine uses. Linux refuses to mount it then.

    `e2fsck -p` gives up on it (status 4); `e2fsck -y` mends it from the backups (status 1). The superblock and the
    journal stay as they are, so what a crash left in the journal is not lost either. Zeros would be no good: they are
    descriptors of empty groups, and repairing that loses every file.
    """
    with disk.open("r+b") as file:
        file.seek(GROUP_DESCRIPTORS)
        file.write(b"\xff" * 4096)
        file.flush()
        os.fsync(file.fileno())
