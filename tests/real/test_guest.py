"""A real machine's agent, spoken to directly: what it does while a machine is nobody's, and what only a fleet asks."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.real.machines import waiting_machine

from subclaw.core.errors import Invalid
from subclaw.core.machine import Command
from subclaw.machines.guest.guest import Guest
from subclaw.machines.guest.identity import new_identity

ANSWER_S = 60.0
HOUR_S = 3_600.0
STATE = (
    "cat /proc/1/mountinfo /proc/sys/kernel/random/boot_id; hostname; pgrep -c -P 1;"
    " find /mnt /run /tmp /dev/shm /etc /home /srv -xdev | sort"
)


def with_guest(folder: Path, scenario: Callable[[Guest], Awaitable[None]]) -> None:
    async def run() -> None:
        async with waiting_machine(folder) as guest:
            await scenario(guest)

    asyncio.run(run())


async def shell(guest: Guest, text: str) -> str:
    result = await guest.run(Command(text=text, timeout_s=ANSWER_S))
    assert result.exit_status == 0, result.output
    return result.output.decode()


@pytest.mark.alone
def test_rehearsal_leaves_nothing_and_what_follows_is_quicker(tmp_path: Path) -> None:
    async def scenario(guest: Guest) -> None:
        before = await shell(guest, STATE)
        began_s = time.monotonic()
        await guest.rehearse(timeout_s=ANSWER_S)
        first_s = time.monotonic() - began_s
        await guest.rehearse(timeout_s=ANSWER_S)
        assert await shell(guest, STATE) == before
        began_s = time.monotonic()
        made = await guest.set_up(new_identity("machine-5"), timeout_s=ANSWER_S)
        assert time.monotonic() - began_s < max(0.1, first_s)
        assert not made.repaired
        assert await shell(guest, "cat /etc/machine-id; hostname; cat /etc/hostname; stat -c %a /etc/machine-id") == (
            f"{made.machine_id}\nmachine-5\nmachine-5\n644\n"
        )
        assert await shell(guest, "findmnt -n -o FSTYPE / || awk '$2 == \"/\" {print $3}' /proc/mounts") == "overlay\n"
        for again in (guest.rehearse(timeout_s=ANSWER_S), guest.set_up(new_identity("other"), timeout_s=ANSWER_S)):
            with pytest.raises(Invalid):
                await again

    with_guest(tmp_path, scenario)


def test_clock_and_randomness_after_a_sleep_with_memory(tmp_path: Path) -> None:
    async def scenario(guest: Guest) -> None:
        await guest.set_up(new_identity("machine-1"), timeout_s=ANSWER_S)
        await shell(guest, "stay-awake 1h; date -s '2001-01-01'")
        await guest.resume(timeout_s=ANSWER_S)
        assert abs(float(await shell(guest, "date +%s.%N")) - time.time()) < 5
        assert HOUR_S - 60 < (await guest.occupation(timeout_s=ANSWER_S)).claim_s <= HOUR_S

    with_guest(tmp_path, scenario)


def test_occupation(tmp_path: Path) -> None:
    async def scenario(guest: Guest) -> None:
        async def processes() -> int:
            return (await guest.occupation(timeout_s=ANSWER_S)).processes

        async def claim_s() -> float:
            return (await guest.occupation(timeout_s=ANSWER_S)).claim_s

        await guest.set_up(new_identity("machine-1"), timeout_s=ANSWER_S)
        assert (await processes(), await claim_s()) == (0, 0.0)
        # Neither a call under way nor what it has started itself is the tenant's; what outlives it, or leaves it, is.
        async with asyncio.TaskGroup() as group:
            call = group.create_task(
                shell(guest, "sleep 600 | cat & touch begun; while ! [ -e go ]; do sleep 0.05; done")
            )
            await shell(guest, "while ! [ -e begun ]; do sleep 0.05; done")
            assert await processes() == 0
            await guest.write("go", b"")
            await call
        assert await processes() == 2
        await shell(
            guest, "pkill sleep; while pgrep -x 'sleep|cat'; do sleep 0.05; done; setsid sleep 700 & touch left"
        )
        assert await processes() == 1
        await shell(guest, "pkill sleep; while pgrep -x sleep; do sleep 0.05; done")

        assert await shell(guest, "stay-awake") == "0 s\n"
        await shell(guest, "stay-awake 2h")
        assert 2 * HOUR_S - 60 < await claim_s() <= 2 * HOUR_S
        await shell(guest, "stay-awake 10m")
        assert 500 < await claim_s() <= 600
        async with asyncio.TaskGroup() as group:
            script = "stay-awake 1d sh -c 'touch claimed; while ! [ -e done ]; do sleep 0.05; done; exit 3' || echo $?"
            call = group.create_task(shell(guest, script))
            await shell(guest, "while ! [ -e claimed ]; do sleep 0.05; done")
            assert 23 * HOUR_S < await claim_s() <= 24 * HOUR_S
            await guest.write("done", b"")
            assert await call == "3\n"
        assert 400 < await claim_s() <= 600
        # A claim whose command was killed is void, and one that says more than it may is cut.
        killed = Command(text="stay-awake 1d sleep 600", timeout_s=1.0)
        assert (await guest.run(killed)).exit_status is None
        async with asyncio.timeout(ANSWER_S):
            while (left_s := await claim_s()) > 600:  # its holder is dead, and may not be gone from /proc
                await asyncio.sleep(0.05)
        assert left_s > 300
        await shell(guest, "stay-awake off; stay-awake 8d; [ $? = 2 ]")
        assert await claim_s() == 0.0
        await shell(guest, "touch /run/subclaw/stay-awake/999999999999-0")
        assert await claim_s() == 7 * 24 * HOUR_S
        await shell(guest, "rm -r /run/subclaw/stay-awake; touch /run/subclaw/stay-awake")
        assert await claim_s() == 0.0

    with_guest(tmp_path, scenario)
