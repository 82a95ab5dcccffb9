"""Checkpoints and rolling back, through the host's API: machines awake and asleep."""

import time
from collections.abc import Iterator

import pytest
from tests.real.machines import Host, running_host

from subclaw.core.errors import Invalid, NotFound
from subclaw.core.machine import BEFORE_ROLL_BACK, Checkpoint, MachineState, MachineStats
from subclaw.core.tenant import TenantId
from subclaw.store.database import DatabaseAddress
from subclaw.testing.postgres import fresh_database

SECOND = 1.0


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, cluster: DatabaseAddress) -> Iterator[Host]:
    with fresh_database(cluster) as address, running_host(tmp_path_factory.mktemp("host"), address) as host:
        yield host


def checkpoint(host: Host, tenant: int, label: str) -> Checkpoint:
    """Make a checkpoint."""
    return host.use(lambda client: client.checkpoint(TenantId(tenant), label))


def labels(host: Host, tenant: int) -> list[str]:
    """Return the labels of the checkpoints that are kept."""
    return [one.label for one in host.use(lambda client: client.checkpoints(TenantId(tenant)))]


def roll_back(host: Host, tenant: int, label: str) -> None:
    """Roll a machine back."""
    host.use(lambda client: client.roll_back(TenantId(tenant), label))


def stats(host: Host, tenant: int) -> MachineStats:
    """Return what a machine is and uses."""
    return host.use(lambda client: client.stats(TenantId(tenant)))


@pytest.mark.alone
def test_awake_machine_is_rolled_back_and_the_rolling_back_too(host: Host) -> None:
    host.run(1, "echo old > file; echo old > /etc/old; echo old > /srv/site/page")
    checkpoint(host, 1, "turn-1")
    host.run(1, "echo new > file; rm /etc/old; rm -rf /srv/site/*; sync")
    began = time.monotonic()
    roll_back(host, 1, "turn-1")
    assert time.monotonic() - began < SECOND
    assert host.run(1, "cat file /etc/old /srv/site/page").output == b"old\nold\nold\n"
    assert labels(host, 1) == [BEFORE_ROLL_BACK]
    roll_back(host, 1, BEFORE_ROLL_BACK)
    assert host.run(1, "cat file; ls /etc/old /srv/site").output.startswith(b"new\n")


@pytest.mark.alone
def test_machine_goes_on_while_a_checkpoint_is_made(host: Host) -> None:
    host.run(2, "(while :; do date +%s%N > next; mv next beat; sleep 0.05; done) >/dev/null 2>&1 & sleep 0.2")
    began = time.monotonic()
    checkpoint(host, 2, "turn-1")
    assert time.monotonic() - began < SECOND
    assert host.run(2, 'a=$(cat beat); sleep 0.5; [ "$a" != "$(cat beat)" ] && echo beats').output == b"beats\n"


def test_what_was_not_synced_by_hand_is_in_it(host: Host) -> None:
    host.run(3, "echo before > file")
    checkpoint(host, 3, "turn-1")
    host.run(3, "echo after > file")
    roll_back(host, 3, "turn-1")
    assert host.run(3, "cat file").output == b"before\n"


def test_same_label_again_keeps_the_first(host: Host) -> None:
    host.run(4, "echo first > file")
    made = checkpoint(host, 4, "turn-1")
    host.run(4, "echo second > file")
    assert checkpoint(host, 4, "turn-1") == made
    roll_back(host, 4, "turn-1")
    assert host.run(4, "cat file").output == b"first\n"


def test_tenant_without_a_machine_goes_back_to_an_empty_disk(host: Host) -> None:
    checkpoint(host, 5, "turn-1")
    host.run(5, "echo mine > file")
    roll_back(host, 5, "turn-1")
    assert host.run(5, "ls").output == b""


def test_sleeping_machine_wakes_without_what_ran_before(host: Host) -> None:
    host.run(6, "echo old > file")
    checkpoint(host, 6, "turn-1")
    host.run(6, "echo new > file; sleep 600 >/dev/null 2>&1 &")
    host.use(lambda client: client.sleep(TenantId(6)))
    assert stats(host, 6).state is MachineState.ASLEEP_WITH_MEMORY
    roll_back(host, 6, "turn-1")
    assert stats(host, 6).state is MachineState.ASLEEP
    assert host.run(6, "cat file; pgrep -x sleep || echo gone").output == b"old\ngone\n"


def test_only_the_newest_are_kept(host: Host) -> None:
    for number in range(5):
        host.run(7, f"echo {number} > file")
        checkpoint(host, 7, f"turn-{number}")
    assert labels(host, 7) == ["turn-2", "turn-3", "turn-4"]


def test_no_such_checkpoint(host: Host) -> None:
    host.run(8, "echo mine > file")
    with pytest.raises(NotFound):
        roll_back(host, 8, "turn-1")
    with pytest.raises(Invalid):
        checkpoint(host, 8, "../turn")
    assert host.run(8, "cat file").output == b"mine\n"


def test_stats_of_a_machine(host: Host) -> None:
    with pytest.raises(NotFound):
        stats(host, 9)
    host.run(9, "head -c 3000000 /dev/urandom > file; sync")
    awake = stats(host, 9)
    assert awake.state is MachineState.AWAKE
    assert awake.generation == 1
    assert 3_000_000 < awake.disk_used_bytes < 10_000_000
    assert awake.disk_size_bytes == 8 * 1024**3
    assert awake.memory_bytes is not None
    assert awake.memory_bytes > 10_000_000
    assert awake.processor_s is not None
    assert awake.processor_s > 0
    host.use(lambda client: client.sleep(TenantId(9)))
    asleep = stats(host, 9)
    assert (asleep.state, asleep.memory_bytes, asleep.processor_s) == (MachineState.ASLEEP, None, None)
