"""The worker: claims conversations, performs what `next_step` decides, and appends what happened under its lease.

It may be killed at any point. What it had not written did not happen; what it had started and not finished is settled
by whoever takes the conversation over.
"""

import asyncio
import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from subclaw.core.errors import SubclawError, Unavailable
from subclaw.core.model import Model, ModelReply
from subclaw.core.tool import Caller, Toolbox, ToolCall
from subclaw.core.transcript import (
    OUTCOME_UNKNOWN,
    AskModel,
    Event,
    FinishTurn,
    ModelFailed,
    ModelReplied,
    PerformCalls,
    ReplyQueued,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    TurnOutcome,
    next_step,
    turn_id,
)
from subclaw.core.turn import Conversation, Lease
from subclaw.store import conversations
from subclaw.store.database import Database, DatabaseAddress, LeaseLost
from subclaw.store.events import storable_event
from subclaw.store.notify import Topic, listen, notifications, worker_life
from subclaw.turns.prompt import make_prompt

log = logging.getLogger(__name__)

REAP_INTERVAL_S = 0.5
RETRY_DELAY_S = 5.0
FAILURE_LIMIT = 5
"""How often a turn is begun: a defect that each try meets again must not cost a model call for ever."""

GIVEN_UP = "Something keeps going wrong on my side with this, so I have stopped. Please write again, in other words."


@dataclass(frozen=True, kw_only=True)
class Turns:
    """What a turn needs of the world.

    `instructions` makes the agent's system text for a conversation; `sends` says whether a channel's replies go out by
    the outbox (others are read from the transcript).
    """

    database: Database
    model: Model
    toolbox: Toolbox
    instructions: Callable[[Conversation], str]
    sends: Callable[[str], bool]


async def work(turns: Turns, address: DatabaseAddress, *, limit: int) -> None:
    """Claim and run turns, at most `limit` at a time, until cancelled.

    Errors: `Unavailable` if the database is lost; then nothing that was claimed is this worker's any more.
    """
    async with worker_life(address) as (session, worker_id):
        await listen(session, Topic.WAKE)
        awake = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(_reap(turns.database, awake))
            group.create_task(_claim(turns, worker_id, awake, limit, group))
            async for _ in notifications(session):
                awake.set()


async def _reap(database: Database, awake: asyncio.Event) -> None:
    """Free what dead workers held; the tick also finds conversations whose time has come without a notification."""
    while True:
        await conversations.reap(database)
        awake.set()
        await asyncio.sleep(REAP_INTERVAL_S)


async def _claim(turns: Turns, worker_id: int, awake: asyncio.Event, limit: int, group: asyncio.TaskGroup) -> None:
    running: set[asyncio.Task[None]] = set()

    def ended(task: asyncio.Task[None]) -> None:
        if len(running) == limit:
            awake.set()
        running.discard(task)

    while True:
        await awake.wait()
        awake.clear()
        free = limit - len(running)
        for lease in await conversations.claim(turns.database, worker_id, free) if free else ():
            task = group.create_task(_run(turns, lease))
            running.add(task)
            task.add_done_callback(ended)


async def _run(turns: Turns, lease: Lease) -> None:
    """Run the turns of a claimed conversation. Whatever happens here ends this conversation's turn and no other."""
    try:
        while not await run_turn(turns, lease):
            pass
    except LeaseLost:
        log.warning("conversation %d: lease lost", lease.conversation_id)
    except Exception as error:  # one conversation's trouble is not the others'
        log.error("conversation %d: %s: %s", lease.conversation_id, type(error).__name__, _internal(error))
        await _set_aside(turns, lease)


async def _set_aside(turns: Turns, lease: Lease) -> None:
    """Let the turn be tried again later, or give it up in words when it was begun in vain too often."""
    try:
        failures, channel = await conversations.fail_turn(turns.database, lease)
        if failures < FAILURE_LIMIT:
            await conversations.release(turns.database, lease, RETRY_DELAY_S * 2 ** (failures - 1))
        else:
            await _give_up(turns, lease, channel)
    except SubclawError as error:
        log.warning("conversation %d: not set aside: %s", lease.conversation_id, error.internal)


async def _give_up(turns: Turns, lease: Lease, channel: str) -> bool:
    last: list[Event] = [ReplyQueued(text=GIVEN_UP), TurnFinished(outcome=TurnOutcome.FAILED)]
    return await conversations.finish(turns.database, lease, last, reply=GIVEN_UP, send=turns.sends(channel))


def _internal(error: Exception) -> str:
    return error.internal if isinstance(error, SubclawError) else ""


class _Journal:
    """The events of a conversation: those that the store has, and those that it is still to be told of.

    The latter are kept as the store will give them back, so that whoever takes a turn over is told what this one was.
    """

    def __init__(self, database: Database, lease: Lease, written: Sequence[Event]) -> None:
        self._database = database
        self._lease = lease
        self._written = list(written)
        self.unwritten: list[Event] = []

    def add(self, event: Event) -> None:
        """Take an event, to be written with the next ones."""
        self.unwritten.append(storable_event(event))

    def events(self) -> list[Event]:
        return [*self._written, *self.unwritten]

    async def write(self, *, drain: bool = False) -> None:
        """Append what is unwritten; with `drain`, learn what was said meanwhile."""
        if not self.unwritten:
            return
        said = await conversations.append(self._database, self._lease, self.unwritten, drain=drain)
        self._written += [*self.unwritten, *said]
        self.unwritten = []


async def run_turn(turns: Turns, lease: Lease) -> bool:
    """Run one turn, or the rest of it, to its end. Returns whether the lease was given back."""
    opened = await conversations.open_turn(turns.database, lease)
    if opened.failures >= FAILURE_LIMIT:
        return await _give_up(turns, lease, opened.conversation.reply_to.channel)
    conversation = opened.conversation
    instructions = turns.instructions(conversation)  # once: what a model is sent again, it is sent unchanged
    journal = _Journal(turns.database, lease, opened.events)
    while True:
        match next_step(journal.events()):
            case AskModel():
                await journal.write(drain=True)
                journal.add(await _ask(turns, lease, instructions, journal.events()))
            case PerformCalls(calls=(call, *_), interrupted=interrupted):
                await _perform(turns, lease, journal, call, interrupted=call.id in interrupted)
            case FinishTurn(reply=reply, outcome=outcome):
                last = [*journal.unwritten, ReplyQueued(text=reply), TurnFinished(outcome=outcome)]
                send = turns.sends(conversation.reply_to.channel)
                return await conversations.finish(turns.database, lease, last, reply=reply, send=send)
            case _:
                return await conversations.finish(turns.database, lease, journal.unwritten, reply="", send=False)


async def _ask(turns: Turns, lease: Lease, instructions: str, events: Sequence[Event]) -> Event:
    prompt = make_prompt(instructions, turns.toolbox.definitions(), events)
    try:
        reply = await turns.model.ask(prompt)
    except SubclawError as error:
        log.error("conversation %d: model: %s", lease.conversation_id, error.internal)
        return ModelFailed(public=_apology(error))
    return ModelReplied(text=reply.text, calls=_with_own_ids(reply), usage=reply.usage)


def _apology(error: SubclawError) -> str:
    if isinstance(error, Unavailable):
        return "I can't reach my model right now. Please write again in a minute."
    return "My model can't be used at the moment, and whoever runs me has to look at it. Please try again later."


def _with_own_ids(reply: ModelReply) -> tuple[ToolCall, ...]:
    """Give each call an id of our own: providers repeat theirs from turn to turn."""
    return tuple(replace(call, id=f"call_{uuid.uuid4().hex[:16]}") for call in reply.calls)


async def _perform(turns: Turns, lease: Lease, journal: _Journal, call: ToolCall, *, interrupted: bool) -> None:
    """Perform a call. That it starts is written before; what it came to is written with whatever happens next."""
    if interrupted and not _repeatable(turns.toolbox, call):
        journal.add(ToolFinished(call_id=call.id, content=OUTCOME_UNKNOWN, is_error=True))
        return
    journal.add(ToolStarted(call_id=call.id))
    await journal.write()
    caller = Caller(
        tenant_id=lease.tenant_id,
        conversation_id=lease.conversation_id,
        call_id=call.id,
        turn_id=turn_id(journal.events()),
    )
    result = await turns.toolbox.perform(caller, call)
    journal.add(ToolFinished(call_id=call.id, content=result.content, is_error=result.is_error))


def _repeatable(toolbox: Toolbox, call: ToolCall) -> bool:
    return any(tool.idempotent for tool in toolbox.definitions() if tool.name == call.name)
