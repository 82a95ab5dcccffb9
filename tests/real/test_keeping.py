"""What channels keep for themselves, in a real PostgreSQL."""

import asyncio

import pytest

from subclaw.core.errors import Conflict
from subclaw.core.keeping import Kept
from subclaw.store.database import DatabaseAddress, Role, open_database
from subclaw.store.keeping import StoreKeeping
from subclaw.testing.egress import run


def test_entries_are_written_all_or_none_and_read_since_a_version(address: DatabaseAddress) -> None:
    async def scenario() -> None:
        async with open_database(address, Role.APP) as database:
            keeping = StoreKeeping(database, address, "matrix")
            assert await keeping.read() == Kept(entries={}, version=0)
            assert await keeping.write({"a": b"\x00\xff", "b": b"1"}, expected=0) == 1
            assert await keeping.write({"b": b"2"}) == 2
            assert await keeping.read() == Kept(entries={"a": b"\x00\xff", "b": b"2"}, version=2)
            assert await keeping.read(after=1) == Kept(entries={"b": b"2"}, version=2)
            assert await keeping.read(after=2) == Kept(entries={}, version=2)
            with pytest.raises(Conflict):
                await keeping.write({"a": b"late", "c": b"late"}, expected=1)
            assert await keeping.write({"a": None}, expected=2) == 3
            assert await keeping.read(after=2) == Kept(entries={"a": None}, version=3)
            assert await keeping.read() == Kept(entries={"b": b"2"}, version=3)
            assert await StoreKeeping(database, address, "another").read() == Kept(entries={}, version=0)

    run(scenario)


def test_one_at_a_time_is_alone(address: DatabaseAddress) -> None:
    async def scenario() -> None:
        inside: list[int] = []
        async with open_database(address, Role.APP) as database:

            async def enter(number: int) -> None:
                async with StoreKeeping(database, address, "matrix").alone():
                    inside.append(number)
                    assert len(inside) == 1
                    await asyncio.sleep(0)
                    await database.rows("SELECT 1")
                    inside.remove(number)

            async with asyncio.TaskGroup() as group:
                for number in range(5):
                    group.create_task(enter(number))

    run(scenario)


def test_of_those_who_write_at_once_one_wins(address: DatabaseAddress) -> None:
    async def scenario() -> None:
        async with open_database(address, Role.APP) as database:
            keeping = StoreKeeping(database, address, "matrix")
            done = await asyncio.gather(
                *(keeping.write({"a": str(n).encode()}, expected=0) for n in range(5)), return_exceptions=True
            )
            assert sorted(map(str, (one for one in done if isinstance(one, int)))) == ["1"]
            assert sum(isinstance(one, Conflict) for one in done) == 4

    run(scenario)
