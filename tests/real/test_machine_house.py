"""A tenant's house: in the machine while it is awake, in the mirror while it sleeps, and never two of it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psutil
import pytest
from tests.real.machines import Host, eventually, running_host, status_of

from subclaw.core.errors import Exhausted, Invalid
from subclaw.core.house import FILE_LIMIT_BYTES, HOUSE, SYSTEM, StoredFile, fingerprint
from subclaw.core.machine import BEFORE_ROLL_BACK, Command, MachineState
from subclaw.core.tenant import TenantId
from subclaw.machines.host_client import HostClient
from subclaw.store.database import Database, DatabaseAddress, Role, open_database
from subclaw.store.house import read_house, read_marks, read_revision
from subclaw.testing.postgres import fresh_database

T = TypeVar("T")
DEFAULT, SKILL = "You are an agent.", "A default skill."
DEFAULTS = {SYSTEM: DEFAULT, "skills/default.md": SKILL}
RUNS_ON = "sleep 1000 >/dev/null 2>&1 &"


@pytest.fixture(scope="module")
def address(cluster: DatabaseAddress) -> Iterator[DatabaseAddress]:
    with fresh_database(cluster) as address:
        yield address


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, address: DatabaseAddress) -> Iterator[Host]:
    with running_host(tmp_path_factory.mktemp("host"), address, defaults=DEFAULTS) as host:
        yield host


def as_tenant(address: DatabaseAddress, call: Callable[[Database], Awaitable[T]]) -> T:
    """Make a call as the application."""

    async def scenario() -> T:
        async with open_database(address, Role.APP, size=1) as database:
            return await call(database)

    return asyncio.run(scenario())


def stored(address: DatabaseAddress, tenant: int) -> dict[str, StoredFile]:
    """Return what the mirror has."""
    files = as_tenant(address, lambda database: read_house(database, TenantId(tenant)))
    return {file.path: file for file in files}


def contents(address: DatabaseAddress, tenant: int) -> dict[str, bytes | None]:
    """Return what the mirror has, the contents alone."""
    return {path: file.content for path, file in stored(address, tenant).items()}


def revision(address: DatabaseAddress, tenant: int) -> int:
    """Return the revision of a house."""

    found = as_tenant(address, lambda database: read_revision(database, TenantId(tenant)))
    assert found is not None
    return found


def laid(address: DatabaseAddress, tenant: int) -> dict[str, str]:
    """Return the fingerprints of the defaults that were laid."""
    return dict(as_tenant(address, lambda database: read_marks(database, TenantId(tenant))).laid)


def sleep(host: Host, tenant: int) -> None:
    """Put a machine to sleep."""
    host.use(lambda client: client.sleep(TenantId(tenant)))


def sync(host: Host, tenant: int) -> bool:
    """Bring the mirror up to date, if the machine is awake."""
    return host.use(lambda client: client.sync_house(TenantId(tenant)))


def write(host: Host, tenant: int, path: str, content: bytes | None) -> None:
    """Write a file of the house, or remove it."""
    host.use(lambda client: client.write_house(TenantId(tenant), path, content))


def is_awake(host: Host, tenant: int) -> bool:
    """Say whether a machine is awake."""
    return tenant in [status.tenant_id for status in host.use(lambda client: client.statuses())]


def shell(host: Host, tenant: int, text: str) -> bytes:
    """Run a command in the house, which must not fail."""
    result = host.run(tenant, f"cd {HOUSE} && {{ {text}\n}}")
    assert result.exit_status == 0, result.output
    return result.output


def test_defaults_are_laid_and_need_no_row(host: Host, address: DatabaseAddress) -> None:
    assert shell(host, 1, f"cat {SYSTEM}; cat skills/default.md") == f"{DEFAULT}{SKILL}".encode()
    assert contents(address, 1) == {}
    assert laid(address, 1) == {path: fingerprint(text.encode()) for path, text in DEFAULTS.items()}


def test_file_that_is_written_asleep_is_there_at_the_next_command(host: Host, address: DatabaseAddress) -> None:
    write(host, 2, "memory.md", b"before the first start")
    assert not sync(host, 2)
    assert stored(address, 2)["memory.md"].is_waiting
    assert shell(host, 2, "cat memory.md") == b"before the first start"
    assert not stored(address, 2)["memory.md"].is_waiting
    sleep(host, 2)
    before = revision(address, 2)
    write(host, 2, "memory.md", b"second")
    write(host, 2, "skills/mine/SKILL.md", b"skill")
    write(host, 2, "skills/default.md", None)
    assert revision(address, 2) == before + 3
    assert not is_awake(host, 2)
    assert shell(host, 2, "cat memory.md skills/mine/SKILL.md; ls skills") == b"secondskillmine\n"
    assert contents(address, 2) == {
        "memory.md": b"second",
        "skills/mine/SKILL.md": b"skill",
        "skills/default.md": None,
    }


def test_change_by_shell_is_mirrored_when_asked_for_and_before_sleep(host: Host, address: DatabaseAddress) -> None:
    shell(host, 3, "printf one > memory.md; printf mine > system.md; mkdir -p skills/a; printf x > skills/a/SKILL.md")
    assert sync(host, 3)
    assert contents(address, 3) == {"memory.md": b"one", SYSTEM: b"mine", "skills/a/SKILL.md": b"x"}
    before = revision(address, 3)
    assert sync(host, 3)
    assert revision(address, 3) == before
    shell(host, 3, "printf two > memory.md; rm -r skills")
    sleep(host, 3)
    after = {"memory.md": b"two", SYSTEM: b"mine", "skills/default.md": None}
    assert contents(address, 3) == after
    assert not sync(host, 3)
    host.run(3, "true")
    assert sync(host, 3)
    assert contents(address, 3) == after


def test_file_that_is_written_awake_is_in_both_at_once(host: Host, address: DatabaseAddress) -> None:
    host.run(4, "true")
    write(host, 4, "tools.json", b"[]")
    assert stored(address, 4)["tools.json"] == StoredFile(
        path="tools.json", content=b"[]", problem="", served=None, is_waiting=False
    )
    assert shell(host, 4, "cat tools.json") == b"[]"
    write(host, 4, "tools.json", None)
    assert contents(address, 4) == {}
    assert shell(host, 4, "ls") == b"skills\nsystem.md\n"


def test_file_outlasts_a_machine_that_is_killed_and_what_waits_wins(host: Host, address: DatabaseAddress) -> None:
    shell(host, 5, "printf kept > memory.md; printf old > tools.json")
    sync(host, 5)
    shell(host, 5, "printf newer > memory.md; printf newer > tools.json; sync")
    kill(host, 5)
    write(host, 5, "tools.json", b"[1]")
    assert contents(address, 5)["memory.md"] == b"kept"
    assert shell(host, 5, "cat memory.md tools.json") == b"newer[1]"
    assert contents(address, 5) == {"memory.md": b"newer", "tools.json": b"[1]"}


def kill(host: Host, tenant: int) -> None:
    """Kill a machine's QEMU."""
    psutil.Process(status_of(host, tenant).process_id).kill()
    eventually(lambda: not is_awake(host, tenant), "a machine that was killed is still on the list")


def test_file_is_written_while_its_machine_dies(host: Host, address: DatabaseAddress) -> None:
    async def scenario(client: HostClient) -> None:
        tenant = TenantId(6)
        for number in range(5):
            await client.wake(tenant)
            (status,) = [status for status in await client.statuses() if status.tenant_id == tenant]
            writing = asyncio.create_task(client.write_house(tenant, "memory.md", str(number).encode()))
            psutil.Process(status.process_id).kill()
            await writing
            result = await client.run(tenant, Command(text=f"cat {HOUSE}/memory.md", timeout_s=60))
            assert result.output == str(number).encode()

    host.use(scenario)


def test_no_write_is_lost_however_the_machine_comes_and_goes(host: Host, address: DatabaseAddress) -> None:
    tenant, ended = TenantId(7), asyncio.Event()
    numbers = range(25)

    async def writes(client: HostClient) -> None:
        for number in numbers:
            await client.write_house(tenant, f"skills/{number % 5}.md", str(number).encode())
            await client.write_house(tenant, f"skills/once-{number}.md", b"once")
        ended.set()

    async def comes_and_goes(client: HostClient) -> int:
        times = 0
        while not ended.is_set() or not times:
            await client.run(tenant, Command(text="true", timeout_s=60))
            await client.sleep(tenant)
            times += 1
        return times

    async def scenario(client: HostClient) -> int:
        async with asyncio.TaskGroup() as group:
            group.create_task(writes(client))
            times = group.create_task(comes_and_goes(client))
        return times.result()

    assert host.use(scenario) > 0
    expected = {f"skills/once-{number}.md": b"once" for number in numbers}
    expected |= {f"skills/{number % 5}.md": str(number).encode() for number in numbers}
    assert contents(address, 7) == expected
    listing = shell(host, 7, "cd skills; for file in *.md; do printf '%s ' $file; cat $file; echo; done")
    found = dict(line.split(" ", 1) for line in listing.decode().splitlines())
    assert {f"skills/{name}": text.encode() for name, text in found.items() if name != "default.md"} == expected
    assert not any(file.is_waiting for file in stored(address, 7).values())


def test_what_cannot_be_used_breaks_nothing(host: Host, address: DatabaseAddress) -> None:
    shell(
        host,
        8,
        "rm system.md; mkdir system.md; mkfifo memory.md; ln -s tools.json tools.json; head -c 10000000 /dev/zero >"
        " skills/large.md; ln -s /dev/zero skills/zero.md; ln -s .. skills/up; ln -s /proc/kallsyms skills/proc.md;"
        " printf good > skills/good.md; printf linked > /tmp/linked; ln -s /tmp/linked skills/linked.md;"
        " touch \"$(printf 'skills/caf\\351.md')\"; mkdir many; cd many; seq 1 3000 | xargs touch",
    )
    assert sync(host, 8)
    files = stored(address, 8)
    assert len(files) <= 200
    usable = {path: file.content for path, file in files.items() if not file.problem and not path.startswith("many/")}
    assert usable == {"skills/good.md": b"good", "skills/linked.md": b"linked"}
    assert files[SYSTEM].problem == "It is a folder."
    assert "pipe" in files["memory.md"].problem
    assert "circle" in files["tools.json"].problem
    assert "64 KiB" in files["skills/large.md"].problem
    assert "64 KiB" in files["skills/proc.md"].problem
    assert [path for path in files if "caf" in path] == ["skills/caf\\udce9.md"]
    assert sum("left out" in file.problem for file in files.values()) == 1
    with pytest.raises(Invalid):
        write(host, 8, SYSTEM, b"new")
    sleep(host, 8)
    write(host, 8, SYSTEM, b"waits")
    assert shell(host, 8, "ls -d system.md/") == b"system.md/\n"
    assert stored(address, 8)[SYSTEM].is_waiting
    shell(host, 8, "rm -r many system.md")
    assert sync(host, 8)
    assert shell(host, 8, "cat system.md") == b"waits"
    assert not stored(address, 8)[SYSTEM].is_waiting


def test_house_under_something_odd_lets_its_machine_come_up(host: Host, address: DatabaseAddress) -> None:
    shell(host, 9, f"printf mine > memory.md; cd /; {RUNS_ON} umount {HOUSE}; rm -r {HOUSE}; printf x > {HOUSE}")
    assert sync(host, 9)
    sleep(host, 9)
    write(host, 9, "memory.md", b"waits")
    assert host.run(9, f"cat {HOUSE}; pkill -x sleep").output == b"x"
    assert sync(host, 9)
    sleep(host, 9)
    assert shell(host, 9, "cat memory.md") == b"waits"


def test_house_sleeps_with_its_machine_and_goes_on(host: Host, address: DatabaseAddress) -> None:
    shell(host, 10, f"printf one > memory.md; {RUNS_ON}")
    sleep(host, 10)
    assert host.use(lambda client: client.stats(TenantId(10))).state is MachineState.ASLEEP_WITH_MEMORY
    assert contents(address, 10) == {"memory.md": b"one"}
    write(host, 10, "memory.md", b"two")
    assert shell(host, 10, "pgrep -x sleep >/dev/null && cat memory.md") == b"two"
    shell(host, 10, "printf three > memory.md")
    sleep(host, 10)
    assert contents(address, 10) == {"memory.md": b"three"}


def test_rolling_back_takes_the_mirror_along(host: Host, address: DatabaseAddress) -> None:
    shell(host, 11, "printf old > memory.md")
    host.use(lambda client: client.checkpoint(TenantId(11), "turn-1"))
    shell(host, 11, "printf new > memory.md; printf new > system.md; sync")
    sync(host, 11)
    assert contents(address, 11) == {"memory.md": b"new", SYSTEM: b"new"}
    before = revision(address, 11)
    host.use(lambda client: client.roll_back(TenantId(11), "turn-1"))
    assert contents(address, 11) == {"memory.md": b"old"}
    assert revision(address, 11) > before
    assert shell(host, 11, "cat memory.md system.md") == f"old{DEFAULT}".encode()
    assert contents(address, 11) == {"memory.md": b"old"}
    host.use(lambda client: client.roll_back(TenantId(11), BEFORE_ROLL_BACK))
    assert contents(address, 11) == {"memory.md": b"new", SYSTEM: b"new"}
    assert shell(host, 11, "cat memory.md system.md") == b"newnew"


def test_rolling_back_a_machine_that_sleeps_gives_back_what_waited(host: Host, address: DatabaseAddress) -> None:
    shell(host, 12, "printf disk > memory.md")
    sleep(host, 12)
    write(host, 12, "tools.json", b"[]")
    host.use(lambda client: client.checkpoint(TenantId(12), "turn-1"))
    shell(host, 12, "rm tools.json; printf new > memory.md")
    sleep(host, 12)
    write(host, 12, "memory.md", b"newest")
    host.use(lambda client: client.roll_back(TenantId(12), "turn-1"))
    assert contents(address, 12) == {"memory.md": b"disk", "tools.json": b"[]"}
    assert shell(host, 12, "cat memory.md tools.json") == b"disk[]"


def test_disk_from_before_is_looked_at_after_a_rolling_back_of_which_the_mirror_knows_nothing(
    host: Host, address: DatabaseAddress
) -> None:
    shell(host, 13, "printf old > memory.md")
    host.use(lambda client: client.checkpoint(TenantId(13), "turn-1"))
    shell(host, 13, "printf new > memory.md")
    sleep(host, 13)
    forget_checkpoints(address)
    host.use(lambda client: client.roll_back(TenantId(13), "turn-1"))
    assert contents(address, 13) == {"memory.md": b"new"}
    assert shell(host, 13, "cat memory.md") == b"old"
    assert contents(address, 13) == {"memory.md": b"old"}


def forget_checkpoints(address: DatabaseAddress) -> None:
    """Have the mirror know of no checkpoint, as of one that was made before there were mirrors."""

    async def scenario() -> None:
        async with open_database(address, Role.OWNER, size=1) as database:
            await database.rows("DELETE FROM house_checkpoint")

    asyncio.run(scenario())


def test_house_outlasts_its_machine(host: Host, address: DatabaseAddress) -> None:
    shell(host, 14, "printf mine > memory.md; rm skills/default.md; printf x > tools.json; printf y > system.md")
    sync(host, 14)
    shell(host, 14, "rm system.md")
    sync(host, 14)
    host.use(lambda client: client.destroy(TenantId(14)))
    assert contents(address, 14) == {"memory.md": b"mine", "skills/default.md": None, "tools.json": b"x"}
    write(host, 14, "tools.json", None)
    assert shell(host, 14, "cat memory.md system.md; find . -type f | sort") == (
        f"mine{DEFAULT}./memory.md\n./system.md\n".encode()
    )


def test_defaults_that_nobody_touched_follow_the_newest(tmp_path: Path, cluster: DatabaseAddress) -> None:
    with fresh_database(cluster) as address:
        with running_host(tmp_path, address, defaults={**DEFAULTS, "skills/other.md": "old"}) as host:
            shell(host, 1, "true")
            shell(host, 2, f"printf touched > system.md; rm skills/default.md; {RUNS_ON}")
            shell(host, 3, "rm -r system.md skills")
        assert contents(address, 3) == {"skills/default.md": None, "skills/other.md": None}
        newer = {SYSTEM: "newer", "skills/default.md": "newer skill", "skills/new.md": "new"}
        with running_host(tmp_path, address, defaults=newer) as host:
            look = "cat system.md; grep -r . skills | sort"
            assert shell(host, 1, look) == (
                b"newerskills/default.md:newer skill\nskills/new.md:new\nskills/other.md:old\n"
            )
            assert shell(host, 2, look) == b"touchedskills/new.md:new\nskills/other.md:old\n"
            assert shell(host, 3, look) == b"newerskills/new.md:new\n"
            assert contents(address, 1) == {"skills/other.md": b"old"}
            touched = {SYSTEM: b"touched", "skills/default.md": None, "skills/other.md": b"old"}
            assert contents(address, 2) == touched
            assert laid(address, 2)[SYSTEM] == fingerprint(DEFAULT.encode())
            assert laid(address, 1) == {path: fingerprint(text.encode()) for path, text in newer.items()}


def test_full_house_is_told(host: Host, address: DatabaseAddress) -> None:
    for number in range(16):
        write(host, 15, f"skills/{number}.md", bytes(FILE_LIMIT_BYTES))
    with pytest.raises(Exhausted):
        write(host, 15, "skills/more.md", b"x")
    write(host, 15, "skills/0.md", None)
    write(host, 15, "skills/more.md", b"x")
    assert shell(host, 15, "cat skills/more.md; ls skills | wc -l") == b"x17\n"


def test_default_that_is_removed_before_there_is_a_machine_is_never_laid(host: Host, address: DatabaseAddress) -> None:
    write(host, 16, "skills/default.md", None)
    write(host, 16, SYSTEM, None)
    assert shell(host, 16, "find . -type f") == b"./system.md\n"
    sync(host, 16)
    assert shell(host, 16, "find . -type f") == b"./system.md\n"
    assert contents(address, 16) == {"skills/default.md": None}


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../passwd", "skills/.x.md", "a/b/c/d/e.md", "a\nb", "x" * 201])
def test_path_that_no_file_of_a_house_has(host: Host, path: str) -> None:
    with pytest.raises(Invalid):
        write(host, 1, path, b"")
    with pytest.raises(Invalid):
        write(host, 1, "memory.md", bytes(FILE_LIMIT_BYTES + 1))
