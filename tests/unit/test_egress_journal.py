"""The journal: decisions are counted together, within bounds, and outlive a book that is away."""

import asyncio

import pytest

from subclaw.core.errors import Unavailable
from subclaw.core.tenant import TenantId
from subclaw.core.tenant_egress import Traffic
from subclaw.egress.machines.journal import DIFFERENT_LIMIT, PATH_LIMIT_CHARACTERS, Journal
from subclaw.egress.machines.machine import Noted
from subclaw.testing.egress_book import MemoryEgressBook

ONE, OTHER = TenantId(1), TenantId(2)


def noted(host: str = "api.test", *, path: str = "/", allowed: bool = True) -> Noted:
    return Noted(host=host, port=443, method="GET", path=path, allowed=allowed, mode="inspect")


def test_equal_decisions_are_counted_together() -> None:
    async def scenario() -> None:
        book = MemoryEgressBook()
        journal = Journal(book)
        for _ in range(3):
            journal.note(ONE, noted(), 10, 20)
        journal.note(OTHER, noted(), 1, 2)
        journal.note_used(frozenset({4, 5}))
        journal.note_used(frozenset({4}))
        journal.note_traffic(ONE, Traffic(requests=3))
        journal.note_traffic(ONE, Traffic(requests=1, sent_bytes=5))
        journal.note_traffic(OTHER, Traffic())
        await journal.write()
        counts = [(each.tenant_id, each.count, each.sent_bytes, each.received_bytes) for each in book.decisions]
        assert counts == [(ONE, 3, 30, 60), (OTHER, 1, 1, 2)]
        assert book.traffic == {ONE: [Traffic(requests=4, sent_bytes=5)]}
        assert sorted(book.used) == [4, 5]
        await journal.write()
        assert len(book.decisions) == 2

    asyncio.run(scenario())


def test_one_machine_cannot_fill_it_and_takes_no_room_from_another() -> None:
    async def scenario() -> None:
        book = MemoryEgressBook()
        journal = Journal(book)
        for number in range(3 * DIFFERENT_LIMIT):
            journal.note(ONE, noted(f"host-{number}.test", path="/" + "a" * 16_000, allowed=bool(number % 2)), 1, 1)
        journal.note(OTHER, noted(), 0, 0)
        await journal.write()
        mine = [each for each in book.decisions if each.tenant_id == ONE]
        assert len(mine) == DIFFERENT_LIMIT + 2
        assert sum(each.count for each in mine) == 3 * DIFFERENT_LIMIT
        assert max(len(each.path) for each in mine) == PATH_LIMIT_CHARACTERS
        assert {each.allowed for each in mine if each.host == "*"} == {True, False}
        assert [each.host for each in book.decisions if each.tenant_id == OTHER] == ["api.test"]

    asyncio.run(scenario())


def test_what_cannot_be_written_is_written_later_and_once() -> None:
    async def scenario() -> None:
        book = MemoryEgressBook()
        journal = Journal(book)
        journal.note(ONE, noted(), 1, 1)
        journal.note_used(frozenset({4}))
        journal.note_traffic(ONE, Traffic(requests=1))
        book.down = True
        with pytest.raises(Unavailable):
            await journal.write()
        journal.note(ONE, noted(), 1, 1)
        journal.note_traffic(ONE, Traffic(requests=1))
        book.down = False
        await journal.write()
        assert [each.count for each in book.decisions] == [2]
        assert book.traffic == {ONE: [Traffic(requests=2)]}
        assert book.used == [4]

    asyncio.run(scenario())


def test_what_is_left_is_written_at_the_end() -> None:
    async def scenario() -> None:
        book = MemoryEgressBook()
        journal = Journal(book)
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(journal.keep(lambda: journal.note_traffic(ONE, Traffic(requests=1))))
            while not book.traffic:
                await asyncio.sleep(0)
            journal.note(ONE, noted(), 0, 0)
            keeping.cancel()
        assert [each.count for each in book.decisions] == [1]
        assert book.traffic == {ONE: [Traffic(requests=1)] * 2}

    asyncio.run(scenario())
