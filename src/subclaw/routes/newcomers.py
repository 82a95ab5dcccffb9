"""What is made ready beside onboarding: machines started ahead, routes that follow a name.

Rows say what there is to do, so that nothing is forgotten when a process dies; a notification says when to look.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Protocol

from subclaw.core.errors import SubclawError
from subclaw.core.tenant import TenantId
from subclaw.store import onboarding
from subclaw.store.database import Database, DatabaseAddress
from subclaw.store.notify import Ears, Topic, hearing

_log = logging.getLogger(__name__)

TICK_S = 5.0
MACHINES_AT_ONCE = 2
"""Most machines that are started ahead at once: those that a turn waits for have the rest of the host."""

WANTED_FOR = timedelta(seconds=30)
"""A machine that was wanted ahead for longer is not started: the turn that wanted it is over, or has started it."""

NAMES_LIMIT = 100


class Wakes(Protocol):
    """The machines: `Machines.wake`."""

    async def wake(self, tenant_id: TenantId) -> None:
        """Start a tenant's machine, if it sleeps."""
        ...


Move = Callable[[TenantId, str], Awaitable[None]]
"""Makes the router follow a tenant from a former name: `SitePublisher.move`. Errors: `Unavailable`."""


async def keep_newcomers(
    database: Database,
    address: DatabaseAddress,
    *,
    machines: Wakes | None,
    move: Move,
    tick_s: float = TICK_S,
    ears: Ears | None = None,
) -> None:
    """Start machines of newcomers ahead and have routes follow names, until cancelled.

    Without `machines` none is started. `ears` hear of `ONBOARDING`, if there are any yet. Errors: `Unavailable` if the
    database is lost.
    """
    awake = asyncio.Event()
    async with hearing(address, {Topic.ONBOARDING: lambda _: awake.set()}, ears), asyncio.TaskGroup() as group:
        group.create_task(_tick(awake, tick_s))
        group.create_task(_look(database, awake, machines, move))


async def _tick(awake: asyncio.Event, tick_s: float) -> None:
    while True:
        awake.set()
        await asyncio.sleep(tick_s)


async def _look(database: Database, awake: asyncio.Event, machines: Wakes | None, move: Move) -> None:
    while True:
        await awake.wait()
        awake.clear()
        async with asyncio.TaskGroup() as group:
            group.create_task(_follow_names(database, move))
            group.create_task(_prepare(database, machines))


async def _follow_names(database: Database, move: Move) -> None:
    for name, tenant_id in await onboarding.unmoved_names(database, NAMES_LIMIT):
        try:
            await move(tenant_id, name)
        except SubclawError as error:
            _log.warning("tenant %d: its site does not follow its name yet: %s", tenant_id, error.internal)
        else:
            await onboarding.note_moved(database, name, tenant_id)


async def _prepare(database: Database, machines: Wakes | None) -> None:
    while claimed := await onboarding.claim_preparations(database, MACHINES_AT_ONCE, WANTED_FOR):
        if machines is not None:
            await asyncio.gather(*(_wake(machines, tenant_id) for tenant_id in claimed))


async def _wake(machines: Wakes, tenant_id: TenantId) -> None:
    """Start a machine. Nobody waits for it, so that it cannot be started now is no trouble: a call starts it then."""
    try:
        await machines.wake(tenant_id)
    except SubclawError as error:
        _log.info("tenant %d: its machine was not started ahead: %s", tenant_id, error.internal)
