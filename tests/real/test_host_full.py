"""A host whose disk is full under its machines: who writes is told so, who does not goes on, and all is well later."""

import contextlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.real.machines import Host, running_host

from subclaw.core.errors import Exhausted, Unavailable
from subclaw.core.tenant import TenantId
from subclaw.store.database import DatabaseAddress

ROOM_BYTES = 24_000_000
WRITE_MUCH = "echo kept > kept; sync; cat /dev/urandom > much & cat /dev/urandom > more; sync; sleep 60"


@contextmanager
def small_file_system(folder: Path) -> Iterator[None]:
    """Mount a file system of little room at a folder."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={2 * ROOM_BYTES}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(ballast: Path) -> None:
    """Make a file larger until its file system has no room left."""
    with contextlib.suppress(OSError), ballast.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4_096))


@pytest.fixture
def host(tmp_path: Path, address: DatabaseAddress) -> Iterator[Host]:
    with small_file_system(tmp_path / "home"), running_host(tmp_path, address) as host:
        yield host


def test_host_without_room(host: Host) -> None:
    ballast = host.home / "ballast"
    ballast.write_bytes(bytes(ROOM_BYTES))
    host.run(2, "echo mine > file; sync")
    with pytest.raises(Unavailable) as caught:
        host.run(1, WRITE_MUCH, timeout_s=120)
    assert "host's disk is full" in caught.value.public
    assert "whether it was done is unknown" in caught.value.public
    # Who only reads is served; who writes is told, if not when the machine starts, then when it does.
    fill(ballast)
    assert host.run(2, "cat file").output == b"mine\n"
    with pytest.raises((Exhausted, Unavailable)) as refused:
        host.run(1, WRITE_MUCH)
    assert "host's disk is full" in refused.value.public
    ballast.unlink()
    assert host.run(1, "cat kept; rm -f much more; sync; echo back").output == b"kept\nback\n"
    assert host.run(2, "echo more >> file; sync; cat file").output == b"mine\nmore\n"


def test_machine_that_cannot_save_its_memory_sleeps_without(host: Host) -> None:
    host.run(1, "echo kept > kept; sleep 600 &")
    ballast = host.home / "ballast"
    fill(ballast)
    with ballast.open("r+b") as file:
        file.truncate(ballast.stat().st_size - 1_000_000)
    host.use(lambda client: client.sleep(TenantId(1)))
    assert host.run(1, "cat kept; pgrep sleep").output == b"kept\n"
