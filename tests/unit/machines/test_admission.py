"""How many machines a host may have awake."""

import pytest

from subclaw.machines.admission import host_memory_mb, most_awake


@pytest.mark.parametrize(
    ("memory_mb", "cores", "awake"),
    [(512, 1, 1), (2_048, 2, 2), (4_096, 2, 6), (24_000, 2, 32), (24_000, 64, 37)],
    ids=["too small a host still has one", "small", "a quarter is kept", "by processors", "by memory"],
)
def test_no_more_is_promised_than_there_is(memory_mb: int, cores: int, awake: int) -> None:
    assert most_awake(memory_mb, cores, 256) == awake


def test_this_hosts_memory_is_known() -> None:
    assert host_memory_mb() > 500
