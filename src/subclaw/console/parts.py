"""What runs beside the web process: the parts that the console asks whether they answer."""

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from subclaw.core.errors import Unavailable
from subclaw.core.machine import MachineStatus
from subclaw.core.tenant import TenantId

ANSWER_TIMEOUT_S = 2.0


class AwakeMachines(Protocol):
    """The part of `core.machine.Machines` that the operator uses."""

    async def statuses(self) -> tuple[MachineStatus, ...]:
        """List the machines that are awake."""
        ...

    async def sleep(self, tenant_id: TenantId) -> None:
        """Put a machine to sleep."""
        ...


async def awake_machines(machines: AwakeMachines) -> tuple[MachineStatus, ...] | None:
    """List the machines that are awake, the longest first; None if their host does not answer."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            found = await machines.statuses()
    except (Unavailable, TimeoutError):
        return None
    return tuple(sorted(found, key=lambda machine: machine.awake_s, reverse=True))


async def put_to_sleep(machines: AwakeMachines, tenant_id: TenantId) -> None:
    """Put a machine to sleep if its host answers; else it is left to find out itself that it may not be awake."""
    with contextlib.suppress(Unavailable, TimeoutError):
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await machines.sleep(tenant_id)


Listener = Path | tuple[str, int]
"""Where a part listens: a unix socket, or an address of this host and a port."""


async def answering(parts: Mapping[str, Listener]) -> Mapping[str, bool]:
    """Tell of each part whether it takes a connection."""
    return dict(zip(parts, await asyncio.gather(*map(_answers, parts.values())), strict=True))


async def _answers(listener: Listener) -> bool:
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            if isinstance(listener, Path):
                _, writer = await asyncio.open_unix_connection(listener)
            else:
                _, writer = await asyncio.open_connection(*listener)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
