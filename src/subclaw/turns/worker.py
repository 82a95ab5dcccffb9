"""The worker: claims conversations, has their turns run, and lets those go that fail or are overtaken."""

import asyncio
import logging
from collections import Counter
from functools import partial

from subclaw.core.errors import SubclawError
from subclaw.core.tenant import TenantId
from subclaw.core.turn import Lease
from subclaw.store import conversations
from subclaw.store.database import Database, DatabaseAddress, LeaseLost
from subclaw.store.notify import Ears, Tell, Topic, hearing, until_lost, worker_life
from subclaw.turns.attention import Notice
from subclaw.turns.run import FAILURE_LIMIT, Turns, give_up, run_turn

log = logging.getLogger(__name__)

Running = dict[int, tuple[Notice, asyncio.Task[None]]]
"""The conversations whose turns run here: what tells the turn of what is said, and its task."""

REAP_INTERVAL_S = 0.5
RETRY_DELAY_S = 5.0
CLOSING_S = 8.0
"""How long a worker that is told to end lets a tool finish that it has begun."""


async def work(
    turns: Turns, address: DatabaseAddress, *, limit: int, closing_s: float = CLOSING_S, ears: Ears | None = None
) -> None:
    """Claim and run turns, at most `limit` at a time, until cancelled. Then each ends its step, and is handed over.

    What a tool has begun may take `closing_s` more to end. `ears` hear of `WAKE` and `INBOX`, if there are any yet.

    Errors: `Unavailable` if the database is lost; then nothing that was claimed is this worker's any more.
    """
    running: Running = {}
    awake = asyncio.Event()
    tells: dict[Topic, Tell] = {Topic.WAKE: lambda _: awake.set(), Topic.INBOX: partial(_tell_said, running)}
    if turns.live:
        tells[Topic.LISTENERS] = turns.live.told
    async with (
        worker_life(address) as (session, worker_id),
        asyncio.TaskGroup() as steps,
        hearing(address, tells, ears),
    ):
        if turns.live:
            await turns.live.begun()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_reap(turns.database, awake))
                group.create_task(_claim(turns, worker_id, awake, limit, running, steps))
                await until_lost(session)
        except asyncio.CancelledError:
            await _handed_over(running, closing_s)
            raise


def _tell_said(running: Running, conversation_id: str) -> None:
    if found := running.get(int(conversation_id)):
        found[0].tell_said()


async def _handed_over(running: Running, closing_s: float) -> None:
    """Wait for a while until every turn has ended its step and was given back."""
    tasks = [task for _, task in running.values()]
    for notice, _ in running.values():
        notice.tell_closing()
    if tasks:
        await asyncio.wait(tasks, timeout=closing_s)


async def _reap(database: Database, awake: asyncio.Event) -> None:
    """Free what dead workers held; the tick also finds conversations whose time has come without a notification."""
    while True:
        await conversations.reap(database)
        awake.set()
        await asyncio.sleep(REAP_INTERVAL_S)


async def _claim(
    turns: Turns, worker_id: int, awake: asyncio.Event, limit: int, running: Running, steps: asyncio.TaskGroup
) -> None:
    tenants: Counter[TenantId] = Counter()

    def ended(lease: Lease, task: asyncio.Task[None]) -> None:
        if len(running) >= limit or tenants[lease.tenant_id] >= conversations.TENANT_LIMIT:
            awake.set()
        tenants[lease.tenant_id] -= 1
        if turns.typist:
            turns.typist.ended(lease.conversation_id)
        if turns.live:
            turns.live.ended(lease.conversation_id)
        if running.get(lease.conversation_id, (None, None))[1] is task:  # it may have been claimed again
            del running[lease.conversation_id]

    while True:
        await awake.wait()
        awake.clear()
        free = limit - len(running)
        claimed = await conversations.claim(turns.database, worker_id, free) if free else ()
        if len(claimed) >= conversations.TENANT_LIMIT:
            awake.set()  # there may be more than a claim looks at
        tenants += Counter(lease.tenant_id for lease in claimed)
        for lease in claimed:
            notice = Notice()
            task = steps.create_task(_run(turns, lease, notice))
            running[lease.conversation_id] = notice, task
            task.add_done_callback(partial(ended, lease))


async def _run(turns: Turns, lease: Lease, notice: Notice) -> None:
    """Run the turns of a claimed conversation. Whatever happens here ends this conversation's turn and no other."""
    try:
        while not await run_turn(turns, lease, notice):
            pass
    except LeaseLost:
        log.warning("conversation %d: lease lost", lease.conversation_id)
    except Exception as error:  # one conversation's trouble is not the others'
        log.error("conversation %d: %s: %s", lease.conversation_id, type(error).__name__, _internal(error))
        await _set_aside(turns, lease)


async def _set_aside(turns: Turns, lease: Lease) -> None:
    """Let the turn be tried again later, or give it up in words when it was begun in vain too often.

    Tried until it is done: nobody else touches a conversation that a living worker owns.
    """
    while True:
        try:
            failures, channel = await conversations.fail_turn(turns.database, lease)
            if failures < FAILURE_LIMIT:
                await conversations.release(turns.database, lease, RETRY_DELAY_S * 2 ** (failures - 1))
            else:
                await give_up(turns, lease, channel)
        except LeaseLost:
            return
        except SubclawError as error:
            log.warning("conversation %d: not set aside: %s", lease.conversation_id, error.internal)
            await asyncio.sleep(RETRY_DELAY_S)
        else:
            return


def _internal(error: Exception) -> str:
    return error.internal if isinstance(error, SubclawError) else ""
