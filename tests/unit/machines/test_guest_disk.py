"""What the agent reads in a file system's superblock, of file systems that mkfs.ext4 makes."""

import os
import subprocess
from pathlib import Path

import pytest

from subclaw_guest.disk import SUPERBLOCK_BYTES, SUPERBLOCK_OFFSET, has_errors, size_in_blocks

PATHS = {**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}


def run(*command: str) -> None:
    """Run a program of e2fsprogs. e2fsck says with 1 that it has mended something."""
    assert subprocess.run(command, capture_output=True, env=PATHS, check=False).returncode in (0, 1)


def formatted(path: Path, size_bytes: int, *options: str) -> Path:
    """Make a file system in a file."""
    with path.open("wb") as file:
        file.truncate(size_bytes)
    run("mkfs.ext4", "-q", "-F", *options, str(path))
    return path


def superblock_of(path: Path) -> bytes:
    """Read the superblock from the file, as the agent does from its device."""
    with path.open("rb") as file:
        return os.pread(file.fileno(), SUPERBLOCK_BYTES, SUPERBLOCK_OFFSET)


@pytest.mark.parametrize("options", [("-b", "4096"), ("-b", "1024"), ("-b", "4096", "-O", "^64bit")])
def test_size_of_a_file_system(tmp_path: Path, options: tuple[str, ...]) -> None:
    superblock = superblock_of(formatted(tmp_path / "disk", 64 * 1024**2, *options))
    blocks, block_bytes = size_in_blocks(superblock)
    assert block_bytes == int(options[1])
    assert blocks * block_bytes == 64 * 1024**2


def test_size_of_a_file_system_that_needs_more_than_32_bits() -> None:
    blocks, block_bytes = size_in_blocks((b"\0" * 4 + (7).to_bytes(4, "little")).ljust(SUPERBLOCK_BYTES, b"\0"))
    assert (blocks, block_bytes) == (7, 1024)
    wide = bytearray(SUPERBLOCK_BYTES)
    wide[0x4:0x8], wide[0x150:0x154], wide[0x60] = b"\1\0\0\0", b"\2\0\0\0", 0x80
    assert size_in_blocks(bytes(wide)) == (2 * 2**32 + 1, 1024)


def test_flag_of_an_error(tmp_path: Path) -> None:
    disk = formatted(tmp_path / "disk", 16 * 1024**2)
    assert not has_errors(superblock_of(disk))
    run("debugfs", "-w", "-R", "set_super_value state 3", str(disk))
    assert has_errors(superblock_of(disk))
    run("e2fsck", "-f", "-y", str(disk))
    assert not has_errors(superblock_of(disk))
