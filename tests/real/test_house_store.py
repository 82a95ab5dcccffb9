"""The mirror of houses against a real PostgreSQL: what waits, what is served, whose it is."""

import asyncio
from collections.abc import Awaitable, Callable

import psycopg
import pytest

from subclaw.core.errors import Exhausted
from subclaw.core.house import (
    FILE_LIMIT_BYTES,
    FILES_LIMIT,
    SYSTEM,
    HouseFile,
    Owed,
    StoredFile,
    Waiting,
    fingerprint,
    fingerprints,
)
from subclaw.core.machine import BEFORE_ROLL_BACK
from subclaw.core.tenant import TenantId
from subclaw.store.database import Database, DatabaseAddress, Role, open_database
from subclaw.store.house import StoreMirror, read_house, read_marks, read_revision, serve_house

ANN, BOB, NOBODY = TenantId(1), TenantId(2), TenantId(3)
NOTHING = Owed(waiting=(), laid={}, note="")
Scenario = Callable[[StoreMirror, Database], Awaitable[None]]


def run(address: DatabaseAddress, scenario: Scenario) -> None:
    """Run a scenario with the mirror as hosts have it, and the database as turns have it."""

    async def main() -> None:
        async with open_database(address, Role.HOST, size=2) as host, open_database(address, Role.APP, size=2) as app:
            await scenario(StoreMirror(host), app)

    with psycopg.connect(address.url) as connection:
        connection.execute("INSERT INTO tenant (id, name) VALUES (1, 'ann'), (2, 'bob') ON CONFLICT DO NOTHING")
    asyncio.run(main())


def own(path: str, content: bytes | None, problem: str = "") -> HouseFile:
    """Return a file of the tenant's own."""
    return HouseFile(path=path, content=content, problem=problem)


async def keep(mirror: StoreMirror, *files: HouseFile, settled: tuple[Waiting, ...] = ()) -> None:
    """Say what is in the machine, in which nothing was laid."""
    await mirror.keep(ANN, files, laid={}, settled=fingerprints(settled))


async def contents(app: Database, tenant: TenantId = ANN) -> dict[str, bytes | None]:
    """Return what a turn reads."""
    return {file.path: file.content for file in await read_house(app, tenant)}


def test_nobody_has_anything(address: DatabaseAddress) -> None:
    async def scenario(mirror: StoreMirror, app: Database) -> None:
        for tenant in (ANN, NOBODY):
            assert await mirror.owed(tenant, is_new=True) == NOTHING
            assert (await read_house(app, tenant), (await read_marks(app, tenant)).laid) == ((), {})
            assert await read_revision(app, tenant) is None
        await mirror.write(NOBODY, SYSTEM, b"x")
        await mirror.keep(NOBODY, [own(SYSTEM, b"x")], laid={}, settled={})
        await mirror.rest(NOBODY, "note")
        await mirror.keep_checkpoint(NOBODY, "turn-1")
        await mirror.roll_back(NOBODY, "turn-1")
        assert await mirror.owed(NOBODY, is_new=False) == NOTHING

    run(address, scenario)


def test_what_waits_goes_on_waiting_until_that_very_content_is_settled(address: DatabaseAddress) -> None:
    async def scenario(mirror: StoreMirror, app: Database) -> None:
        await mirror.write(ANN, "memory.md", b"first")
        await mirror.write(ANN, "tools.json", None)
        first, removal = Waiting(path="memory.md", content=b"first"), Waiting(path="tools.json", content=None)
        assert (await mirror.owed(ANN, is_new=False)).waiting == (first, removal)
        await keep(mirror, own("memory.md", b"old"), own("tools.json", b"[]"))
        assert (await mirror.owed(ANN, is_new=False)).waiting == (first, removal)
        assert await contents(app) == {"memory.md": b"first", "tools.json": None}
        await mirror.write(ANN, "memory.md", b"second")
        await keep(mirror, own("memory.md", b"first"), settled=(first, removal))
        assert await contents(app) == {"memory.md": b"second"}
        second = Waiting(path="memory.md", content=b"second")
        await keep(mirror, own("memory.md", b"since"), settled=(second,))
        assert await contents(app) == {"memory.md": b"since"}
        assert (await mirror.owed(ANN, is_new=False)).waiting == ()

    run(address, scenario)


def test_revision_counts_what_a_turn_could_see(address: DatabaseAddress) -> None:
    async def scenario(mirror: StoreMirror, app: Database) -> None:
        revisions = []
        steps: list[Callable[[], Awaitable[None]]] = [
            lambda: mirror.write(ANN, "memory.md", b"one"),
            lambda: keep(mirror, own("memory.md", b"one"), settled=(Waiting(path="memory.md", content=b"one"),)),
            lambda: keep(mirror, own("memory.md", b"two")),
            lambda: keep(mirror, own("memory.md", None, "It is a folder.")),
            lambda: keep(mirror),
            lambda: mirror.keep(ANN, [], laid={SYSTEM: "x"}, settled={}),
        ]
        for step in steps:
            await step()
            revisions.append(await read_revision(app, ANN) or 0)
        assert revisions == sorted(set(revisions))
        await mirror.keep(ANN, [], laid={SYSTEM: "x"}, settled={})
        await mirror.rest(ANN, "note")
        assert await mirror.owed(ANN, is_new=False) == Owed(waiting=(), laid={SYSTEM: "x"}, note="note")
        assert (await read_marks(app, ANN)).laid == {SYSTEM: "x"}
        assert await read_revision(app, ANN) == revisions[-1]

    run(address, scenario)


def test_last_content_that_could_be_used_is_served(address: DatabaseAddress) -> None:
    async def scenario(mirror: StoreMirror, app: Database) -> None:
        await keep(mirror, own("tools.json", b"good"), own("memory.md", b"x"))
        revision = await read_revision(app, ANN)
        assert revision is not None
        await serve_house(app, ANN, revision - 1, ["tools.json"])
        await serve_house(app, BOB, revision, ["tools.json"])
        assert [file.served for file in await read_house(app, ANN)] == [None, None]
        await serve_house(app, ANN, revision, ["tools.json"])
        assert await read_revision(app, ANN) == revision
        await keep(mirror, own("tools.json", b"{"), own("memory.md", b"x"))
        await serve_house(app, ANN, revision, ["tools.json"])
        broken = StoredFile(path="tools.json", content=b"{", problem="", served=b"good", is_waiting=False)
        assert broken in await read_house(app, ANN)
        await keep(mirror, own("tools.json", None, "It is a folder."))
        assert await read_house(app, ANN) == (
            StoredFile(path="tools.json", content=None, problem="It is a folder.", served=b"good", is_waiting=False),
        )
        # Of a machine that is gone what can be used is put into the next.
        owed = await mirror.owed(ANN, is_new=True)
        assert owed.waiting == (Waiting(path="tools.json", content=b"good"),)

    run(address, scenario)


def test_everything_waits_for_a_machine_that_is_new(address: DatabaseAddress) -> None:
    async def scenario(mirror: StoreMirror, app: Database) -> None:
        laid = {SYSTEM: "x", "skills/untouched.md": "x", "skills/removed.md": "x"}
        files = [own(SYSTEM, b"touched"), own("skills/removed.md", None), own("bad.md", None, "bad")]
        await mirror.keep(ANN, files, laid=laid, settled={})
        await mirror.rest(ANN, "note")
        owed = await mirror.owed(ANN, is_new=True)
        assert owed == Owed(
            waiting=(Waiting(path="skills/removed.md", content=None), Waiting(path=SYSTEM, content=b"touched")),
            laid={SYSTEM: "x", "skills/removed.md": "x"},
            note="",
        )
        assert await mirror.owed(ANN, is_new=False) == owed

    run(address, scenario)


def test_house_has_a_limit_and_can_always_be_emptied(address: DatabaseAddress) -> None:
    async def scenario(mirror: StoreMirror, app: Database) -> None:
        for number in range(FILES_LIMIT):
            await mirror.write(ANN, f"{number}", b"")
        with pytest.raises(Exhausted):
            await mirror.write(ANN, "more", b"")
        await mirror.write(ANN, "0", b"again")
        for number in range(FILES_LIMIT):
            await mirror.write(ANN, f"{number}", None)
        for number in range(16):
            await mirror.write(ANN, f"large {number}", bytes(FILE_LIMIT_BYTES))
        with pytest.raises(Exhausted):
            await mirror.write(ANN, "more", b"x")
        await mirror.write(ANN, "more", b"")

    run(address, scenario)


def test_rolling_back_and_back_again(address: DatabaseAddress) -> None:
    async def scenario(mirror: StoreMirror, app: Database) -> None:
        await mirror.keep(ANN, [own("memory.md", b"one"), own("bad", None, "bad")], laid={SYSTEM: "1"}, settled={})
        await mirror.write(ANN, "tools.json", b"[]")
        before = await read_house(app, ANN)
        await mirror.keep_checkpoint(ANN, "turn-1")
        await mirror.keep(ANN, [own("memory.md", b"two")], laid={SYSTEM: "2"}, settled={})
        after = await read_house(app, ANN)
        await mirror.keep_checkpoint(ANN, "turn-2")
        await mirror.rest(ANN, "note")
        await mirror.roll_back(ANN, "turn-1")
        assert (await read_house(app, ANN), (await read_marks(app, ANN)).laid) == (before, {SYSTEM: "1"})
        assert (await mirror.owed(ANN, is_new=False)).note == ""
        await mirror.roll_back(ANN, "turn-2")
        assert await read_house(app, ANN) == before
        await mirror.roll_back(ANN, BEFORE_ROLL_BACK)
        assert (await read_house(app, ANN), (await read_marks(app, ANN)).laid) == (after, {SYSTEM: "2"})

    run(address, scenario)


def test_only_the_newest_checkpoints_are_kept(address: DatabaseAddress) -> None:
    async def scenario(mirror: StoreMirror, app: Database) -> None:
        for number in range(5):
            await keep(mirror, own("memory.md", str(number).encode()))
            await mirror.keep_checkpoint(ANN, f"turn-{number}")
        await mirror.roll_back(ANN, "turn-1")
        assert await contents(app) == {"memory.md": b"4"}
        await mirror.roll_back(ANN, "turn-2")
        assert await contents(app) == {"memory.md": b"2"}

    run(address, scenario)


def test_a_turn_has_its_own_tenants_house_alone(address: DatabaseAddress) -> None:
    async def scenario(mirror: StoreMirror, app: Database) -> None:
        await keep(mirror, own("memory.md", b"ann's"))
        await mirror.keep_checkpoint(ANN, "turn-1")
        assert await contents(app, BOB) == {}
        async with open_database(address, Role.APP, size=1) as bobs:
            await bobs.rows("SELECT set_config('subclaw.tenant', '2', false)")
            assert not await bobs.rows("SELECT FROM house_file")
            assert not await bobs.rows("SELECT FROM house")
            assert not await bobs.rows("UPDATE house_file SET served = content RETURNING path")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await bobs.rows("UPDATE house_file SET content = ''")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await bobs.rows("SELECT FROM house_checkpoint")

    run(address, scenario)


def test_fingerprints_of_both_ends_are_the_same(address: DatabaseAddress) -> None:
    with psycopg.connect(address.url) as connection:
        row = connection.execute("SELECT encode(sha256('x'::bytea), 'hex')").fetchone()
    assert row == (fingerprint(b"x"),)
