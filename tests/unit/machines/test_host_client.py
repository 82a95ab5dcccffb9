"""Calls of the host's API that say something of a machine, through the real client and a real socket."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from subclaw.core.errors import Invalid, NotFound
from subclaw.core.machine import Checkpoint, Machines, MachineState, MachineStats
from subclaw.core.tenant import TenantId
from subclaw.machines.host import serving
from subclaw.machines.host_api import host_api
from subclaw.machines.host_client import HostClient

MADE_AT = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
ANN, BOB = TenantId(1), TenantId(2)


class Disks:
    """The part of `Machines` that is about disks and houses, of one tenant's."""

    def __init__(self) -> None:
        self.kept: dict[str, Checkpoint] = {}
        self.rolled_back_to = ""
        self.house: dict[str, bytes | None] = {}

    async def sync_house(self, tenant_id: TenantId) -> bool:
        """Say that one machine is awake."""
        return tenant_id == ANN

    async def write_house(self, tenant_id: TenantId, path: str, content: bytes | None) -> None:
        """Take a file as it is."""
        self.house[path] = content

    async def checkpoint(self, tenant_id: TenantId, label: str) -> Checkpoint:
        """Keep a copy, once."""
        return self.kept.setdefault(label, Checkpoint(label=label, made_at=MADE_AT, size_bytes=2**40))

    async def checkpoints(self, tenant_id: TenantId) -> tuple[Checkpoint, ...]:
        """List the copies."""
        return tuple(self.kept.values())

    async def roll_back(self, tenant_id: TenantId, label: str) -> None:
        """Take a copy back."""
        if label not in self.kept:
            raise NotFound("There is no such checkpoint.")
        self.rolled_back_to = label

    async def stats(self, tenant_id: TenantId) -> MachineStats:
        """Say what the machine uses; it is awake if it was rolled back."""
        if tenant_id != ANN:
            raise NotFound("There is no machine.")
        awake = bool(self.rolled_back_to)
        return MachineStats(
            state=MachineState.AWAKE if awake else MachineState.ASLEEP_WITH_MEMORY,
            generation=7,
            image="digest",
            disk_used_bytes=1,
            disk_size_bytes=2**33,
            memory_bytes=2**28 if awake else None,
            processor_s=1.5 if awake else None,
            checkpoints=len(self.kept),
        )


def with_client(folder: Path, scenario: Callable[[HostClient, Disks], Awaitable[None]]) -> None:
    async def run() -> None:
        disks = Disks()
        path = folder / "host.sock"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            async with serving(host_api(cast(Machines, disks)), listener), HostClient(path) as client:
                await scenario(client, disks)

    asyncio.run(run())


def test_checkpoints_are_made_listed_and_gone_back_to(tmp_path: Path) -> None:
    async def scenario(client: HostClient, disks: Disks) -> None:
        assert await client.checkpoints(ANN) == ()
        made = await client.checkpoint(ANN, "turn-1")
        assert made == Checkpoint(label="turn-1", made_at=MADE_AT, size_bytes=2**40)
        assert await client.checkpoint(ANN, "turn-1") == made
        assert await client.checkpoints(ANN) == (made,)
        await client.roll_back(ANN, "turn-1")
        assert disks.rolled_back_to == "turn-1"
        with pytest.raises(NotFound):
            await client.roll_back(ANN, "other")

    with_client(tmp_path, scenario)


def test_house_is_synced_and_written(tmp_path: Path) -> None:
    async def scenario(client: HostClient, disks: Disks) -> None:
        assert await client.sync_house(ANN)
        assert not await client.sync_house(BOB)
        await client.write_house(ANN, "skills/a b&c=é.md", b"\0content")
        await client.write_house(ANN, "memory.md", b"")
        await client.write_house(ANN, "tools.json", None)
        assert disks.house == {"skills/a b&c=é.md": b"\0content", "memory.md": b"", "tools.json": None}
        with pytest.raises(Invalid):
            await client.write_house(ANN, "/etc/passwd", b"")

    with_client(tmp_path, scenario)


def test_stats_of_a_machine_awake_and_asleep(tmp_path: Path) -> None:
    async def scenario(client: HostClient, disks: Disks) -> None:
        asleep = await client.stats(ANN)
        assert asleep == await disks.stats(ANN)
        assert (asleep.state, asleep.memory_bytes) == (MachineState.ASLEEP_WITH_MEMORY, None)
        disks.rolled_back_to = "label"
        assert (await client.stats(ANN)).state is MachineState.AWAKE
        with pytest.raises(NotFound):
            await client.stats(BOB)

    with_client(tmp_path, scenario)


@pytest.mark.parametrize("label", ["", ".", "..", ".hidden", "a_b", "a/b", "a\0b", "a b", "a\n", "é", "x" * 65])
def test_label_that_can_be_no_files_name(tmp_path: Path, label: str) -> None:
    async def scenario(client: HostClient, disks: Disks) -> None:
        with pytest.raises(Invalid):
            await client.checkpoint(ANN, label)
        with pytest.raises(Invalid):
            await client.roll_back(ANN, label)

    with_client(tmp_path, scenario)
