"""A real machine that is for one turn: fresh for the next one, and gone after the last."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import psycopg
from tests.real.machines import running_host

from subclaw.core.house import MEMORY
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller
from subclaw.machines.disks.disk import folder_of
from subclaw.machines.host_client import HostClient
from subclaw.store.database import Database, DatabaseAddress, Role, open_database
from subclaw.tools.machine import machine_tools
from subclaw.tools.toolbox import Perform
from subclaw.turns.turn_machines import for_one_turn, keep_clearing

ONE = TenantId(1)
DEADLINE_S = 60
LEAVE = f"echo mine > left; echo mine > /etc/subclaw/{MEMORY}; hostname"
LOOK = f"cat left /etc/subclaw/{MEMORY}; true"


async def no_placeholders(tenant_id: TenantId) -> dict[str, str]:
    return {}


async def told(shell: Perform, turn: str, conversation: int, command: str) -> str:
    caller = Caller(tenant_id=ONE, conversation_id=conversation, call_id=f"{turn}_call", turn_id=turn)
    return await shell(caller, {"command": command})


def open_conversation(address: DatabaseAddress) -> int:
    with psycopg.connect(address.conninfo(Role.OWNER)) as owner:
        row = owner.execute(
            "INSERT INTO conversation (tenant_id, channel, address, turn_open) VALUES (1, 'api', 'a', true)"
            " RETURNING id"
        ).fetchone()
    assert row is not None
    return int(row[0])


def end_turn(address: DatabaseAddress) -> None:
    with psycopg.connect(address.conninfo(Role.OWNER)) as owner:
        owner.execute("UPDATE conversation SET turn_open = false")


def test_nothing_is_kept_from_one_turn_to_the_next_and_nothing_is_left(
    address: DatabaseAddress, tmp_path: Path
) -> None:
    with running_host(tmp_path, address) as host:
        conversation = open_conversation(address)

        async def turns(client: HostClient, database: Database) -> None:
            tools = machine_tools(client, client, no_placeholders)
            shell = for_one_turn(tools[0], database, client).perform
            await told(shell, "turn_1", conversation, LEAVE)
            assert "mine\nmine" in await told(shell, "turn_1", conversation, LOOK), "one turn has one machine"
            await client.sleep(ONE)  # as it does when a turn takes long: what is in its house is mirrored
            found = await told(shell, "turn_2", conversation, LOOK)
            assert "mine" not in found, "neither its files nor its memory are the next one's"
            assert "cat: left: No such file" in found
            end_turn(address)
            clearing = asyncio.create_task(keep_clearing(database, client))
            async with asyncio.timeout(DEADLINE_S):
                while await client.statuses() or folder_of(host.home, ONE).exists():
                    await asyncio.sleep(0.05)
            clearing.cancel()
            await asyncio.gather(clearing, return_exceptions=True)

        host.use(with_database(address, turns))


def with_database(
    address: DatabaseAddress, scenario: Callable[[HostClient, Database], Awaitable[None]]
) -> Callable[[HostClient], Awaitable[None]]:
    async def main(client: HostClient) -> None:
        async with open_database(address, Role.APP, size=2) as database:
            await scenario(client, database)

    return main
