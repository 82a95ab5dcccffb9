"""`subclaw house` against a real PostgreSQL: an agent moves in from elsewhere, and from one tenant to another."""

import asyncio
import io
import json
import os
import stat
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from rich.console import Console
from tests.real.test_schedules import receive
from tests.real.test_tenant_commands import environ as environ
from tests.real.test_tenant_commands import home as home
from tests.tars import tar_of
from typer.testing import CliRunner

from subclaw.cli import cli
from subclaw.commands import house_ports
from subclaw.commands.house import import_house, reset_house, show_house
from subclaw.commands.house_export import export_house
from subclaw.commands.house_ports import HousePorts
from subclaw.config import Settings, load_settings
from subclaw.core.errors import Conflict, Invalid, NotFound, Unavailable
from subclaw.core.house import StoredFile
from subclaw.core.recurrence import Recurrence
from subclaw.core.schedule import IfMissed, ScheduleMode
from subclaw.core.tenant import TenantId
from subclaw.harness.defaults import default_files
from subclaw.store.database import Database, DatabaseAddress, Role, open_database
from subclaw.store.schedules import StoreSchedules

LATER = (datetime.now(UTC) + timedelta(days=30)).replace(microsecond=0)
TOKEN = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"


@dataclass(kw_only=True)
class FakeHost:
    """A host of machines and its mirror: houses and folders by tenant."""

    houses: dict[TenantId, dict[str, StoredFile]] = field(default_factory=dict)
    folders: dict[str, bytes] = field(default_factory=dict)

    async def read(self, tenant_id: TenantId) -> tuple[StoredFile, ...]:
        return tuple(file for _, file in sorted(self.houses.get(tenant_id, {}).items()))

    async def write_house(self, tenant_id: TenantId, path: str, content: bytes | None) -> None:
        house = self.houses.setdefault(tenant_id, {})
        house.pop(path, None)
        if content not in (None, default_files().get(path)):
            house[path] = StoredFile(path=path, content=content, is_waiting=True)

    async def archive(self, tenant_id: TenantId, path: str, *, limit_bytes: int) -> AsyncIterator[bytes]:
        if path not in self.folders:
            raise NotFound(f"There is no {path}.")
        yield self.folders[path]

    def put(self, tenant_id: TenantId, **files: bytes) -> None:
        """Put Markdown files into a house."""
        house = self.houses.setdefault(tenant_id, {})
        house.update({f"{name}.md": StoredFile(path=f"{name}.md", content=content) for name, content in files.items()})

    def contents(self, tenant_id: TenantId) -> dict[str, bytes | None]:
        return {path: file.content for path, file in self.houses.get(tenant_id, {}).items()}


@dataclass(kw_only=True)
class Scene:
    """A running box as the commands see it, with two tenants who have written."""

    settings: Settings
    host: FakeHost
    ports: HousePorts
    database: Database
    ann: TenantId
    bob: TenantId

    async def shown(self, command: Callable[..., Awaitable[None]], *arguments: Any, **options: Any) -> str:
        output = io.StringIO()
        await command(self.settings, Console(file=output, width=300), self.ports, *arguments, **options)
        return output.getvalue()

    async def reminders(self, tenant_id: TenantId) -> list[tuple[datetime, str]]:
        return [(each.due_at, each.text) for each in await StoreSchedules(self.database).pending(tenant_id)]


def play(scenario: Callable[[Scene], Awaitable[None]], address: DatabaseAddress, environ: dict[str, str]) -> None:
    async def main() -> None:
        async with opened(address, environ) as scene:
            await scenario(scene)

    asyncio.run(main())


@asynccontextmanager
async def opened(address: DatabaseAddress, environ: dict[str, str]) -> AsyncIterator[Scene]:
    async with open_database(address, Role.APP, size=2) as database:
        ann, bob = [await receive(database, sender=name) for name in ("ann", "bob")]
        host = FakeHost()
        ports = HousePorts(
            read=host.read,
            host=host,
            machines=host,
            reminders=StoreSchedules(database),
            defaults=default_files(),
        )
        yield Scene(
            settings=load_settings(environ),
            host=host,
            ports=ports,
            database=database,
            ann=ann.tenant_id,
            bob=bob.tenant_id,
        )


def job(name: str, schedule: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "schedule": schedule, "payload": {"kind": "agentTurn", "message": f"Do {name}."}}


@pytest.fixture
def openclaw(tmp_path: Path) -> Path:
    """A state folder of OpenClaw's."""
    folder = tmp_path / ".openclaw"
    jobs = [
        job("once", {"kind": "at", "at": LATER.isoformat()}),
        job("always", {"kind": "every", "everyMs": 3_600_000}),
    ]
    files = {
        "openclaw.json": '{agents: {defaults: {userTimezone: "Europe/Berlin"}}}',
        "workspace/SOUL.md": "Be warm.",
        "workspace/MEMORY.md": f"The key is {TOKEN}.",
        "workspace/skills/tea/SKILL.md": "---\nname: tea\n---\n",
        "workspace/photo.jpg": "x",
        "cron/jobs.json": json.dumps({"version": 1, "jobs": jobs}),
    }
    for path, text in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return folder


def tenant_row(address: DatabaseAddress, name: str) -> tuple[Any, ...]:
    with psycopg.connect(address.conninfo(Role.OWNER)) as connection:
        (row,) = connection.execute("SELECT model, time_zone FROM tenant WHERE name = %s", [name]).fetchall()
    return row


def test_an_agent_moves_in_and_everything_is_accounted_for(
    address: DatabaseAddress, environ: dict[str, str], openclaw: Path
) -> None:
    async def scenario(scene: Scene) -> None:
        dry = await scene.shown(import_house, "name-web-ann", openclaw, is_dry=True)
        assert "3 files and 2 reminders would come to name-web-ann from an OpenClaw workspace." in dry
        assert scene.host.houses == {}
        assert tenant_row(address, "name-web-ann") == (None, None)

        said = await scene.shown(import_house, "name-web-ann", openclaw)
        assert "3 files and 2 reminders came to name-web-ann" in said
        assert "  workspace/SOUL.md -> system.md\n" in said
        assert "the rest: 1 files or folders" in said
        assert "  a GitHub token in workspace/MEMORY.md\n" in said
        assert "subclaw secrets set NAME --hosts HOST --tenant name-web-ann" in said
        assert TOKEN not in said
        contents = scene.host.contents(scene.ann)
        assert set(contents) == {"system.md", "memory.md", "skills/tea/SKILL.md"}
        assert TOKEN not in repr(contents)
        always, once = await scene.reminders(scene.ann)
        assert once == (LATER, "Do once.")
        assert (always[1], always[0] > datetime.now(UTC)) == ("Do always.", True)
        assert tenant_row(address, "name-web-ann") == (None, "Europe/Berlin")
        assert (scene.host.contents(scene.bob), await scene.reminders(scene.bob)) == ({}, [])

        await scene.shown(import_house, "name-web-ann", openclaw)
        assert once in await scene.reminders(scene.ann)
        (openclaw / "openclaw.json").unlink()
        await scene.shown(import_house, "name-web-ann", openclaw)
        assert tenant_row(address, "name-web-ann") == (None, "Europe/Berlin")

    play(scenario, address, environ)


def test_what_a_tenant_has_of_its_own_is_replaced_only_if_that_is_said(
    address: DatabaseAddress, environ: dict[str, str], openclaw: Path
) -> None:
    async def scenario(scene: Scene) -> None:
        scene.host.put(scene.ann, memory=b"Mine.", other=b"Also mine.")
        with pytest.raises(Conflict, match=r"name-web-ann has its own memory\.md\. To replace"):
            await scene.shown(import_house, "name-web-ann", openclaw)
        assert scene.host.contents(scene.ann) == {"memory.md": b"Mine.", "other.md": b"Also mine."}
        dry = await scene.shown(import_house, "name-web-ann", openclaw, is_dry=True)
        assert "Would replace:\n  memory.md\n" in dry
        said = await scene.shown(import_house, "name-web-ann", openclaw, replaces=True)
        assert "Replaced:\n  memory.md\n" in said
        assert scene.host.contents(scene.ann)["other.md"] == b"Also mine."
        assert scene.host.contents(scene.ann)["memory.md"] != b"Mine."

    play(scenario, address, environ)


def test_a_house_goes_from_one_tenant_to_another(
    address: DatabaseAddress, environ: dict[str, str], tmp_path: Path
) -> None:
    async def scenario(scene: Scene) -> None:
        scene.host.put(scene.ann, system=b"I am Otter.", memory=b"Ann likes tea.")
        broken = StoredFile(path="tools.json", content=None, problem="it is too large", served=b"[]")
        gone = StoredFile(path="skills/x.md", content=None)
        scene.host.houses[scene.ann] |= {broken.path: broken, gone.path: gone}
        with psycopg.connect(address.conninfo(Role.OWNER)) as connection:
            connection.execute(
                "UPDATE tenant SET model = 'openai:mine', time_zone = 'Asia/Tokyo' WHERE id = %s", [scene.ann]
            )
        caller = await receive(scene.database, sender="ann", id="2")
        schedules = StoreSchedules(scene.database)
        await schedules.set(caller, due_at=LATER, mode=ScheduleMode.MESSAGE, text="Tea!")
        wall = LATER.replace(tzinfo=None) + timedelta(hours=1)
        weekly = Recurrence(rule="FREQ=WEEKLY", time_zone="UTC", wall=wall, left=5)
        again = await receive(scene.database, sender="ann", id="3")
        await schedules.set(
            replace(again, call_id="call_2"),
            due_at=LATER + timedelta(hours=1),
            mode=ScheduleMode.AGENT_TURN,
            text="Again!",
            if_missed=IfMissed.SKIP,
            time_zone="UTC",
            recurrence=weekly,
        )
        first, second = tmp_path / "1.tar.gz", tmp_path / "2.tar.gz"
        said = await scene.shown(export_house, "name-web-ann", str(first))
        assert said == f"{first} has 3 files and 2 reminders of name-web-ann.\n"
        await scene.shown(export_house, "name-web-ann", str(second))
        assert first.read_bytes() == second.read_bytes()
        assert stat.S_IMODE(first.stat().st_mode) == 0o600
        assert sorted(os.listdir(tmp_path)) == ["1.tar.gz", "2.tar.gz"]

        said = await scene.shown(import_house, "name-web-bob", first)
        assert "Left out" not in said
        exported = {"system.md": b"I am Otter.", "memory.md": b"Ann likes tea.", "tools.json": b"[]"}
        assert scene.host.contents(scene.bob) == exported
        tea, other = await schedules.pending(scene.bob)
        assert (tea.due_at, tea.text, tea.recurrence) == (LATER, "Tea!", None)
        assert (other.text, other.if_missed, other.recurrence) == ("Again!", IfMissed.SKIP, weekly)
        assert tenant_row(address, "name-web-bob") == ("openai:mine", "Asia/Tokyo")

    play(scenario, address, environ)


def test_a_model_that_cannot_be_asked_here_stays_behind(
    address: DatabaseAddress, environ: dict[str, str], tmp_path: Path
) -> None:
    async def scenario(scene: Scene) -> None:
        with psycopg.connect(address.conninfo(Role.OWNER)) as connection:
            connection.execute("UPDATE tenant SET model = 'google:x' WHERE id = %s", [scene.ann])
        await scene.shown(export_house, "name-web-ann", str(tmp_path / "a.tar.gz"))
        said = await scene.shown(import_house, "name-web-bob", tmp_path / "a.tar.gz")
        assert "the model: google:x cannot be asked" in said
        assert tenant_row(address, "name-web-bob") == (None, None)

    play(scenario, address, environ)


def test_the_machines_folders_come_along_if_they_are_wanted(
    address: DatabaseAddress, environ: dict[str, str], tmp_path: Path
) -> None:
    async def scenario(scene: Scene) -> None:
        folder = tar_of({"notes.txt": b"x" * 10_000})
        scene.host.folders = {"/home/agent": folder}
        target = tmp_path / "a.tar.gz"
        await scene.shown(export_house, "name-web-ann", str(target), with_home=True)
        with tarfile.open(target) as tar:
            assert tar.getnames() == ["manifest.json", "reminders.json", "machine/home-agent.tar"]
            copy = tar.extractfile("machine/home-agent.tar")
            assert copy is not None
            assert copy.read() == folder
        assert "from an exported house" in await scene.shown(import_house, "name-web-bob", target)

    play(scenario, address, environ)


def test_a_failure_leaves_no_half_archive(address: DatabaseAddress, environ: dict[str, str], tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        with pytest.raises(Unavailable, match="cannot be written: No such file or directory"):
            await scene.shown(export_house, "name-web-ann", str(tmp_path / "nowhere" / "a.tar.gz"))
        with pytest.raises(NotFound, match="no tenant nobody"):
            await scene.shown(export_house, "nobody", str(tmp_path / "a.tar.gz"))
        assert os.listdir(tmp_path) == []

    play(scenario, address, environ)


def test_a_house_is_shown_without_what_is_in_it(address: DatabaseAddress, environ: dict[str, str]) -> None:
    async def scenario(scene: Scene) -> None:
        scene.host.put(scene.ann, memory=b"Ann likes tea.")
        bad = StoredFile(path="tools.json", content=None, problem="it is too large", served=b"[]")
        scene.host.houses[scene.ann] |= {bad.path: bad, "x.md": StoredFile(path="x.md", content=b"", is_waiting=True)}
        text = await scene.shown(show_house, "name-web-ann", as_json=True)
        rows = {row.pop("path"): row for row in json.loads(text)}
        assert rows["memory.md"] == {"bytes": 14, "whose": "tenant", "state": "", "problem": ""}
        assert rows["tools.json"] == {"bytes": 0, "whose": "tenant", "state": "not used", "problem": "it is too large"}
        assert rows["x.md"]["state"] == "waits for the machine"
        default = len(default_files()["system.md"])
        assert rows["system.md"] == {"bytes": default, "whose": "default", "state": "", "problem": ""}
        assert "tea" not in text

    play(scenario, address, environ)


def test_files_go_back_to_the_default_and_memory_only_by_name(
    address: DatabaseAddress, environ: dict[str, str]
) -> None:
    async def scenario(scene: Scene) -> None:
        assert await scene.shown(reset_house, "name-web-ann", None) == "name-web-ann has no files of its own.\n"
        scene.host.put(scene.ann, system=b"I am Otter.", memory=b"Ann likes tea.", other=b"x")
        with pytest.raises(NotFound, match=r"name-web-ann has no nothing\.md of its own"):
            await scene.shown(reset_house, "name-web-ann", "nothing.md")
        assert await scene.shown(reset_house, "name-web-ann", None) == (
            "other.md is removed.\nsystem.md is the default.\n"
            "memory.md stays: subclaw house reset name-web-ann memory.md\n"
        )
        assert scene.host.contents(scene.ann) == {"memory.md": b"Ann likes tea."}
        await scene.shown(reset_house, "name-web-ann", "memory.md")
        assert scene.host.contents(scene.ann) == {}

    play(scenario, address, environ)


def test_whoever_never_wrote_has_no_place_for_reminders(
    address: DatabaseAddress, environ: dict[str, str], openclaw: Path
) -> None:
    async def scenario(scene: Scene) -> None:
        with psycopg.connect(address.conninfo(Role.OWNER)) as connection:
            connection.execute("INSERT INTO tenant (name) VALUES ('silent')")
        said = await scene.shown(import_house, "silent", openclaw)
        assert "3 files and 0 reminders came to silent" in said
        assert "2 reminders: There is no conversation yet" in said

    play(scenario, address, environ)


def test_the_command_line(
    address: DatabaseAddress,
    environ: dict[str, str],
    openclaw: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = FakeHost()

    @asynccontextmanager
    async def ports(settings: Settings) -> AsyncIterator[HousePorts]:
        async with opened(address, environ) as scene:
            scene.ports = HousePorts(
                read=host.read, host=host, machines=host, reminders=scene.ports.reminders, defaults=default_files()
            )
            yield scene.ports

    monkeypatch.setattr(house_ports, "open_house_ports", ports)

    def typed(*arguments: str) -> bytes:
        result = CliRunner().invoke(cli, ["house", *arguments], env=environ)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout_bytes

    asyncio.run(_meet(address, environ))
    assert b"would come" in typed("import", "name-web-ann", str(openclaw), "--dry-run")
    assert b"came to" in typed("import", "name-web-ann", str(openclaw), "--replace")
    packed = typed("export", "name-web-ann", "-", "--home")
    (tmp_path / "a.tar.gz").write_bytes(packed)
    assert b"3 files" in typed("import", "name-web-bob", str(tmp_path / "a.tar.gz"))
    assert [row["whose"] for row in json.loads(typed("show", "name-web-bob", "--json"))] == ["tenant"] * 3
    assert typed("reset", "name-web-bob", "memory.md")
    assert b"the default" in typed("reset", "name-web-bob")
    with pytest.raises(Invalid, match="no OpenClaw workspace"):
        typed("import", "name-web-bob", str(openclaw / "cron"))


async def _meet(address: DatabaseAddress, environ: dict[str, str]) -> None:
    async with opened(address, environ):
        pass
