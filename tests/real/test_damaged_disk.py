"""What e2fsck says of a tenant's disk that was let go in the middle of its work, and of one that is damaged."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.real.damage import damage
from tests.real.machines import Host, running_host

from subclaw.core.errors import Corrupt
from subclaw.core.machine import MachineState
from subclaw.core.tenant import TenantId
from subclaw.machines.disks.copies import copy_sparse
from subclaw.machines.disks.disk import formatted_disk
from subclaw.store.database import DatabaseAddress

FILES = {f"folder-{number}/file": bytes([number]) * 50_000 for number in range(20)}


@contextmanager
def mounted(disk: Path) -> Iterator[Path]:
    """Mount a disk as a machine does. Raises `CalledProcessError` if it cannot be mounted."""
    folder = disk.with_name("mounted")
    folder.mkdir(exist_ok=True)
    options = "loop,noinit_itable,discard"
    subprocess.run(["mount", "-t", "ext4", "-o", options, str(disk), str(folder)], check=True, capture_output=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def check(disk: Path, option: str) -> int:
    """Run e2fsck; return its exit status."""
    return subprocess.run(["e2fsck", option, str(disk)], capture_output=True).returncode


def files_on(disk: Path) -> dict[str, bytes]:
    with mounted(disk) as folder:
        return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Return a disk with files, whose machine stopped in the middle of its work: the journal is not empty."""
    used, disk = tmp_path / "used.raw", tmp_path / "disk.raw"
    copy_sparse(formatted_disk(tmp_path / "cache"), used)
    with mounted(used) as folder:
        for name, content in FILES.items():
            (folder / name).parent.mkdir()
            (folder / name).write_bytes(content)
        subprocess.run(["sync", "-f", str(folder)], check=True)
        copy_sparse(used, disk)
    return disk


def test_a_crash_needs_no_repair(disk: Path) -> None:
    assert check(disk, "-p") == 0
    assert check(disk, "-p") == 0
    assert files_on(disk) == FILES


def test_a_disk_after_a_crash_is_mounted_as_it_is(disk: Path) -> None:
    assert files_on(disk) == FILES


@pytest.mark.parametrize("clean", [False, True], ids=["after a crash", "unmounted"])
def test_a_damaged_disk_is_not_mounted_and_is_mended_with_its_files(disk: Path, clean: bool) -> None:
    if clean:
        assert check(disk, "-p") == 0
    damage(disk)
    with pytest.raises(subprocess.CalledProcessError):
        files_on(disk)
    assert check(disk, "-p") == 4
    assert check(disk, "-y") == 1
    assert check(disk, "-p") == 0
    assert files_on(disk) == FILES


@pytest.fixture
def host(tmp_path: Path, address: DatabaseAddress) -> Iterator[Host]:
    with running_host(tmp_path, address) as host:
        yield host


def test_machine_mends_its_own_disk_and_its_tenant_finds_every_file(host: Host) -> None:
    host.run(1, "for n in 1 2 3 4 5; do seq $n 10000 > file-$n; done; sha256sum file-* > sums")
    host.use(lambda client: client.sleep(TenantId(1)))
    damage(host.home / "machines" / "1" / "disk.raw")
    assert host.run(1, "sha256sum --quiet --check sums && echo whole").output == b"whole\n"


def test_disk_that_cannot_be_mended_is_said_and_can_be_rolled_back(host: Host) -> None:
    host.run(1, "echo mine > file")
    host.use(lambda client: client.checkpoint(TenantId(1), "turn-1"))
    host.use(lambda client: client.sleep(TenantId(1)))
    with (host.home / "machines" / "1" / "disk.raw").open("r+b") as file:
        file.truncate(0)
        file.truncate(8 * 1024**3)
    with pytest.raises(Corrupt) as caught:
        host.run(1, "true")
    assert "rolled back" in caught.value.public
    assert host.use(lambda client: client.stats(TenantId(1))).state is MachineState.ASLEEP
    host.use(lambda client: client.roll_back(TenantId(1), "turn-1"))
    assert host.run(1, "cat file").output == b"mine\n"
