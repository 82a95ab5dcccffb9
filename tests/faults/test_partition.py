"""A replica's network is cut in the middle of a turn: nobody says goodbye, and another takes the turn over.

The replica runs in a network namespace of its own; PostgreSQL is on this side of the cable.
"""

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.faults.findings import find, until_at_rest
from tests.faults.obedient import Trace
from tests.faults.replica import program
from tests.faults.test_replicas import DEADLINE_S, replica_of, running, say, until_alive, until_waiting

from subclaw.store.database import DatabaseAddress, Role, open_database
from subclaw.store.provision import provision
from subclaw.testing.postgres import running_shared_cluster

TAKEN_OVER_S = 15.0
ENDED_S = 60.0
HERE, THERE = "198.51.100.1", "198.51.100.2"
"""Addresses that are nobody's (RFC 5737)."""


@dataclass(frozen=True, kw_only=True)
class Cable:
    """The way to a network namespace."""

    namespace: str

    def cut(self) -> None:
        """Let nothing through any more, in either direction."""
        ip("-n", self.namespace, "link", "set", "there", "down")


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def cable() -> Iterator[Cable]:
    name = f"subclaw-{os.getpid()}"
    with ExitStack() as stack:
        ip("netns", "add", name)
        stack.callback(ip, "netns", "del", name)
        ip("link", "add", f"sc{os.getpid()}", "type", "veth", "peer", "name", "there", "netns", name)
        ip("addr", "add", f"{HERE}/30", "dev", f"sc{os.getpid()}")
        ip("link", "set", f"sc{os.getpid()}", "up")
        ip("-n", name, "addr", "add", f"{THERE}/30", "dev", "there")
        ip("-n", name, "link", "set", "there", "up")
        yield Cable(namespace=name)


@contextmanager
def running_there(cable: Cable, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program at the other end of the cable for the life of the block."""
    with subprocess.Popen(["ip", "netns", "exec", cable.namespace, *command], stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("told_meanwhile", [False, True], ids=["silent", "notified"])
def test_a_turn_is_taken_over_from_behind_a_cut(cable: Cable, tmp_path: Path, told_meanwhile: bool) -> None:
    """What the database had sent and got no answer to is timed otherwise than silence."""
    trace = Trace(path=tmp_path / "trace")

    async def scenario(address: DatabaseAddress) -> None:
        await provision(address, timeout_s=DEADLINE_S)
        replica = replace(replica_of(address, trace), private=False)
        said = {"a": ["a1"]}
        async with asyncio.timeout(DEADLINE_S), open_database(address, Role.APP) as database:
            with running_there(cable, program(replica)) as there:
                await say(database, "a", "a1", "please a1 wait")
                await until_waiting(trace, 1)
                with running(replica):
                    await until_alive(address, 2)
                    cable.cut()
                    cut_s = time.monotonic()
                    if told_meanwhile:
                        said["b"] = ["b1"]
                        await say(database, "b", "b1", "please b1")
                    taken_over_s = await until_waiting(trace, 2) - cut_s
                    assert taken_over_s < TAKEN_OVER_S
                    await until_at_rest(address)
                assert await asyncio.to_thread(there.wait, ENDED_S) != 0, "it notices, and ends"
            assert (await find(address, said, trace, [])).all() == []

    with running_shared_cluster("only-for-a-test", listen=HERE) as cluster:
        asyncio.run(scenario(DatabaseAddress(url=cluster.url, private=False)))
