"""The life of one machine that is awake: kept while it is used or has a claim, metered, and put to sleep."""

import asyncio
import logging
import math
import time
from dataclasses import dataclass, field

from subclaw.core.errors import Conflict, SubclawError
from subclaw.core.machine import MachineLedger, MachineState, SecondsLeft
from subclaw.core.tenant import TenantId
from subclaw.machines.disks.disk import disk_error, folder_of
from subclaw.machines.guest.guest import GuestBroken
from subclaw.machines.house import move_out
from subclaw.machines.qemu.snapshot import save_snapshot
from subclaw.machines.starts import Started
from subclaw.machines.workshop import Workshop

SYNC_S = 20.0
OCCUPATION_S = 10.0
METER_S = 60.0
MOST_PROCESSES = 256
"""With how many programs of the tenant's a machine sleeps with its memory; one with more has got out of hand."""

SILENT_S = 120.0
"""For how long a visit that nothing is heard of keeps a machine awake."""

NOT_KNOWN = SecondsLeft(by_claim_s=0.0)
"""What is left for a machine that is not up."""

logger = logging.getLogger(__name__)


@dataclass(kw_only=True, eq=False)
class Visit:
    """A connection of a visitor's to a program in a machine. It ends when it is told that it is `over`."""

    life: "Life"
    used_s: float
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def touch(self) -> None:
        """Say that something was heard of it just now: a use of the machine, if there is time left for visitors."""
        self.used_s = time.monotonic()
        if self.life.visits_left_s() > 0:
            self.life.touch()

    def silent_s(self) -> float:
        """Return for how long nothing was heard of it."""
        return time.monotonic() - self.used_s


@dataclass(kw_only=True)
class Life:
    """A machine from its start to its end. Times are those of a clock that only goes forward.

    `kept_until_s` is until when a claim keeps it awake, as far as is known; `metered_s` is until when its seconds are
    on the tenant's account, and `meter_at_s` when the next are added. It `is_spent` when a budget has no second left.
    `visits` are under way; of the ports in `listening` it is known that a program listened there.
    """

    tenant_id: TenantId
    up: asyncio.Future[Started]
    started_s: float
    used_s: float
    metered_s: float
    meter_at_s: float
    left: SecondsLeft = NOT_KNOWN
    kept_until_s: float = 0.0
    up_s: float = 0.0
    calls: int = 0
    visits: set[Visit] = field(default_factory=set)
    listening: set[int] = field(default_factory=set)
    sync: bool = True
    is_spent: bool = False
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def is_idle(self) -> bool:
        """Say whether it is up and no call is under way in it."""
        return self.is_up() and not self.calls

    def is_going(self) -> bool:
        """Say whether it has stopped or is about to."""
        return self.stop.is_set() or (self.up.done() and self.up.result().machine.gone.is_set())

    def is_up(self) -> bool:
        """Say whether it has come up and is not going."""
        return self.up.done() and not self.is_going()

    def visits_left_s(self) -> float:
        """Return for how long visits may still keep it awake, as a claim may: without limit until that is known."""
        return self.left.by_claim_s - (time.monotonic() - self.metered_s) if self.up.done() else math.inf

    def touch(self) -> None:
        """Say that it was used just now."""
        self.used_s = time.monotonic()

    def end_unsynced(self) -> None:
        """Have it ended as it is: it is broken, or its disk is about to be replaced."""
        self.sync = False
        self.stop.set()

    def fail(self, error: SubclawError) -> None:
        """Tell whoever waits for it that it did not come up, unless it did. It is going in any case."""
        self.stop.set()
        if not self.up.done():
            self.up.set_exception(error)
            self.up.exception()  # so that nobody having waited is no complaint of asyncio's


def begun(tenant_id: TenantId) -> Life:
    """Return a machine's life at its beginning."""
    now_s = time.monotonic()
    up: asyncio.Future[Started] = asyncio.get_running_loop().create_future()
    return Life(tenant_id=tenant_id, up=up, started_s=now_s, used_s=now_s, metered_s=now_s, meter_at_s=now_s + METER_S)


async def live(life: Life, started: Started, ledger: MachineLedger) -> None:
    """Keep a machine until it is gone, is told to stop, or has been idle for its time."""
    life.left = started.terms.left
    life.meter_at_s = _meter_at_s(life)
    while not life.is_going():
        now_s = time.monotonic()
        if life.meter_at_s <= now_s:
            await meter(life, started, ledger)
        if life.is_idle() and sleeps_at_s(life, started) <= now_s:
            await sleep_or_stay(life, started)
        if life.visits_left_s() <= 0:
            end_visits(life)
        next_s = min(life.meter_at_s, max(sleeps_at_s(life, started), now_s + 0.01), visits_end_s(life))
        # Whatever becomes idle meanwhile is not due before a whole time-out has passed.
        await first_of(started.machine.gone, life.stop, timeout_s=max(0.01, next_s - time.monotonic()))


def sleeps_at_s(life: Life, started: Started) -> float:
    """Return when a machine is to sleep if nothing uses it until then."""
    last_s = life.used_s if life.is_idle() else time.monotonic()
    visited_s = max((visit.used_s + SILENT_S for visit in life.visits if not visit.over.is_set()), default=0.0)
    return max(last_s + started.terms.idle_timeout_s, life.kept_until_s, visited_s)


def visits_end_s(life: Life) -> float:
    """Return when the time for visitors will be used up, if it is not."""
    left_s = life.visits_left_s()
    return time.monotonic() + left_s if left_s > 0 else math.inf


def end_visits(life: Life) -> None:
    """Have all visits end, as what they ask for lets them."""
    for visit in life.visits:
        if not visit.over.is_set():
            logger.info("a visit to machine %s ends: the time for visitors is used up", life.tenant_id)
            visit.over.set()


async def sleep_or_stay(life: Life, started: Started) -> None:
    """Let a machine that has been idle for its time stop, unless its tenant claims it and has budget left."""
    used_s = life.used_s
    try:
        occupation = await started.machine.guest.occupation(timeout_s=OCCUPATION_S)
    except (GuestBroken, SubclawError) as error:
        logger.warning("machine %s does not say whether it is in use: %s", life.tenant_id, error)
        life.stop.set()
        return
    left_s = life.left.by_claim_s - (time.monotonic() - life.metered_s)
    stay_s = min(occupation.claim_s, left_s, started.terms.idle_timeout_s)
    if stay_s > 0:
        life.kept_until_s = time.monotonic() + stay_s
    elif life.is_idle() and life.used_s == used_s:
        life.stop.set()


async def meter(life: Life, started: Started, ledger: MachineLedger) -> None:
    """Add the seconds since the last time to the tenant's account.

    A machine whose start was overtaken is ended; one for which there is no second left goes to sleep.
    """
    now_s = time.monotonic()
    life.meter_at_s = now_s + METER_S
    try:
        life.left = await ledger.use(life.tenant_id, started.generation, awake_s=now_s - life.metered_s)
    except Conflict as error:
        logger.error("machine %s is ended: %s", life.tenant_id, error.internal)
        life.end_unsynced()
    except SubclawError as error:
        logger.warning("machine %s is not metered: %s", life.tenant_id, error.internal)
        return
    life.metered_s = now_s
    life.meter_at_s = _meter_at_s(life)
    if life.left.at_all_s <= 0:
        logger.warning("machine %s goes to sleep: a budget is used up", life.tenant_id)
        life.is_spent = True
        life.stop.set()


def _meter_at_s(life: Life) -> float:
    """Return when seconds are added next: now and then, and when the budgets would have none left."""
    return life.metered_s + min(METER_S, life.left.at_all_s)


async def put_to_sleep(life: Life, started: Started, workshop: Workshop) -> MachineState:
    """Mirror its house, write everything to the disk, and the memory beside it if programs run, and not too many.

    A machine that is gone or broken is left as it is: what it had not written then is lost.
    """
    machine = started.machine
    if machine.gone.is_set() or not life.sync:
        logger.warning("machine %s was ended without a sync", life.tenant_id)
        return MachineState.ASLEEP
    try:
        await machine.link.cancel_all()
        await move_out(started.house, machine.guest, workshop.housing, generation=started.generation)
        await machine.guest.sync(timeout_s=SYNC_S)
        occupation = await machine.guest.occupation(timeout_s=OCCUPATION_S)
        if 0 < occupation.processes <= MOST_PROCESSES and started.terms.sleeps_with_memory:
            folder = folder_of(workshop.home, life.tenant_id)
            await save_snapshot(machine, started.template, folder, started.generation)
            return MachineState.ASLEEP_WITH_MEMORY
        await machine.guest.freeze(timeout_s=SYNC_S)
    except (GuestBroken, SubclawError) as error:
        logger.warning("machine %s did not go to sleep as it should: %s", life.tenant_id, error)
    except OSError as error:
        logger.warning("machine %s sleeps without its memory: %s", life.tenant_id, disk_error(error).internal)
    return MachineState.ASLEEP


async def first_of(*events: asyncio.Event, timeout_s: float | None = None) -> None:
    """Wait until one of the events is set, or the time is over."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for future in waiting:
            future.cancel()
