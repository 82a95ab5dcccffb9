"""What the operator sees of schedules: `subclaw schedules list` and the console's page, without words."""

import asyncio
import json

import httpx2
import pytest
from tests.real.console_scene import Scene
from tests.real.test_console import play, text_of
from tests.real.test_plans import settings_for, shown
from tests.real.test_reminders import plan_again
from tests.real.test_schedules import fire, look, plan, receive

from subclaw.commands.schedules import list_schedules
from subclaw.core.errors import NotFound
from subclaw.core.schedule import IfMissed, ScheduleMode
from subclaw.store.database import Database, DatabaseAddress, Role, open_database

WORDS = "kanarienvogel"


async def plant(database: Database, address: DatabaseAddress) -> None:
    """Set a schedule that waits, one that comes again, and one that failed, of two tenants."""
    first, second = await receive(database, sender="a"), await receive(database, sender="b")
    await plan(database, first, in_s=3600, text=WORDS)
    await plan_again(database, second, "FREQ=DAILY;COUNT=9", if_missed=IfMissed.SKIP)
    await plan(database, second, mode=ScheduleMode.AGENT_TURN, text=WORDS)
    assert await fire(database) == 2
    await look(address, "UPDATE schedule SET failure = 'stuck', failed_at = now() WHERE id = 3 RETURNING id")


def listed(address: DatabaseAddress, *, tenant: str | None = None, only_failed: bool = False) -> list[list[object]]:
    settings = settings_for(address)
    text = shown(
        lambda console: list_schedules(
            settings, console, limit=50, tenant=tenant, only_failed=only_failed, as_json=True
        )
    )
    assert WORDS not in text
    return [[row[name] for name in ("id", "tenant", "mode", "state", "repeat")] for row in json.loads(text)]


def test_the_command_lists_times_and_states(address: DatabaseAddress) -> None:
    async def main() -> None:
        async with open_database(address, Role.APP) as database:
            await plant(database, address)

    assert listed(address) == []
    asyncio.run(main())
    waits = [1, "name-web-a", "message", "pending", ""]
    again = [2, "name-web-b", "message", "pending", "FREQ=DAILY"]
    failed = [3, "name-web-b", "agent_turn", "fired", ""]
    assert listed(address) == [failed, again, waits]
    assert listed(address, tenant="name-web-a") == [waits]
    assert listed(address, only_failed=True) == [failed]
    assert listed(address, tenant="name-web-a", only_failed=True) == []
    with pytest.raises(NotFound):
        listed(address, tenant="nobody")


def test_the_console_shows_them(address: DatabaseAddress) -> None:
    async def steps(client: httpx2.AsyncClient, scene: Scene) -> None:
        empty = text_of((await client.get("/console/schedules")).text)
        assert "There are no reminders." in empty
        await plant(scene.database, address)
        page = text_of((await client.get("/console/schedules")).text)
        assert WORDS not in page
        assert "Failed or missed" in page
        assert "name-web-b a turn of the agent fired stopped: stuck not told yet" in page
        assert "name-web-b a message pending FREQ=DAILY 1" in page
        older = text_of((await client.get("/console/schedules?before=2")).text)
        assert "name-web-a a message pending" in older
        assert "name-web-b" not in older

    play(address, steps)
