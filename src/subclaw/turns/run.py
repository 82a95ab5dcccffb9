"""A turn: performs what `next_step` decides, and appends what happened under the lease.

It may be killed at any point. What it had not written did not happen; what it had started and not finished is settled
by whoever takes the conversation over.
"""

import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from subclaw.core.agent import AgentSettings, OnBusy
from subclaw.core.approval import ApprovalRequested, needs_approval
from subclaw.core.budget import FREE, Tariff
from subclaw.core.business import SESSION_CHANNEL
from subclaw.core.consent import LAWS
from subclaw.core.decision import is_approved
from subclaw.core.errors import Exhausted, SubclawError, Unavailable
from subclaw.core.event import (
    BudgetReached,
    Event,
    ModelFailed,
    ModelReplied,
    ReplyQueued,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    TurnOutcome,
    TurnOverdue,
)
from subclaw.core.fault import FaultPoint, reached
from subclaw.core.harness import RELOAD_HARNESS
from subclaw.core.message import is_stop
from subclaw.core.model import Model, ModelReply, Prompt, TooLong
from subclaw.core.outgoing import FilesTaken, FileTaken, TakesFiles
from subclaw.core.tool import Caller, Toolbox, ToolCall
from subclaw.core.transcript import (
    CANCELLED,
    OUTCOME_UNKNOWN,
    AskModel,
    CancelCalls,
    FinishTurn,
    MendAnswer,
    PerformCalls,
    TakeFiles,
    current_turn,
    next_step,
    open_calls,
    turn_id,
)
from subclaw.core.turn import Conversation, Lease
from subclaw.store import conversations
from subclaw.store.database import Database, LeaseLost
from subclaw.store.flush import Flush
from subclaw.turns.approvals import NOT_AFTER, ask_approval, take_decisions, utc_now, with_older_requests
from subclaw.turns.attachments import Attachments, keep_attachments
from subclaw.turns.attention import Attention, Halt, Notice
from subclaw.turns.journal import Journal
from subclaw.turns.live import LiveWords
from subclaw.turns.long_message import Files, keep_long_messages
from subclaw.turns.prompt import (
    WINDOW_TOKENS,
    Frame,
    SummaryWanted,
    make_frame,
    make_half_prompt,
    make_prompt,
    next_prompt,
)
from subclaw.turns.spending import BudgetedModel, OverBudget, Spending
from subclaw.turns.summary import summarise
from subclaw.turns.typing import Typist

log = logging.getLogger(__name__)

FAILURE_LIMIT = 5
"""How often a step of a turn is tried: a defect that each try meets again must not cost a model call for ever."""

BUSY = "I am still at work on what you asked before. Please write again when I am done, or say stop to end that."
BUSY_WHERE_STOP_BINDS = BUSY.replace("say stop", "text /stop")
"""There the bare word would opt the person out."""
GIVEN_UP = "Something keeps going wrong on my side with this, so I have stopped. Please write again, in other words."


def unlimited(channel: str) -> None:
    """Say that a reply may be of any length."""


async def as_they_are(turns: "Turns", conversation: Conversation) -> "Turns":
    """Return turns in which no tenant has anything of its own."""
    return turns


@dataclass(frozen=True, kw_only=True)
class Turns:
    """What a turn needs of the world.

    `instructions` makes the agent's system text for a conversation; `sends` says whether a channel's replies go out by
    the outbox (others are read from the transcript). `cheaper` is the model for when money gets short, if there is one;
    `window_tokens` is the model's window; `files` takes messages that are too long for it, which are cut if it is None;
    `tariff` says what calls cost; `typist` shows people that a turn runs;
    `attachments` puts files that come with messages into machines, `outgoing` takes those that go out from there;
    `clock` tells the time, with an offset; by `flush` turns in sessions, whose every step is told, wait for the disk
    together;
    `limit_characters` says how long a reply in a channel may be, None for as long as it likes. `tailor` makes of these
    what the tenant of a conversation has made its own: instructions, tools and model; once a turn, and again when the
    agent says so.
    """

    database: Database
    model: Model
    toolbox: Toolbox
    agent: AgentSettings
    instructions: Callable[[Conversation], str]
    sends: Callable[[str], bool]
    cheaper: Model | None = None
    tariff: Tariff = FREE
    files: Files | None = None
    window_tokens: int = WINDOW_TOKENS
    typist: Typist | None = None
    flush: Flush | None = None
    live: LiveWords | None = None
    attachments: Attachments | None = None
    outgoing: TakesFiles | None = None
    clock: Callable[[], datetime] = utc_now
    limit_characters: Callable[[str], int | None] = unlimited
    tailor: Callable[["Turns", Conversation], Awaitable["Turns"]] = as_they_are


async def run_turn(turns: Turns, lease: Lease, notice: Notice) -> bool:
    """Run one turn, or the rest of it, to its end. Returns whether the lease was given back."""
    opened = await conversations.open_turn(turns.database, lease)
    if opened.failures >= FAILURE_LIMIT:
        return await give_up(turns, lease, opened.conversation.reply_to.channel)
    if opened.resumed:
        notice.tell_said()  # somebody may have said stop to whoever had it before
    conversation = opened.conversation
    if turns.typist:
        turns.typist.begins(lease.conversation_id, conversation.reply_to)
    turns = await turns.tailor(turns, conversation)
    look = partial(_look, turns, conversation)
    attention = Attention(notice, look, time_left_s=turns.agent.turn_limit_s - opened.age_s)
    frame = _frame(turns, conversation)  # once: what a model is sent again, it is sent unchanged
    flush = turns.flush if conversation.reply_to.channel == SESSION_CHANNEL else None
    journal = Journal(turns.database, lease, with_older_requests(opened.waiting, opened.events), flush=flush)
    spending = Spending(database=turns.database, tariff=turns.tariff, agent=turns.agent, has_budgets=opened.has_budgets)
    model = BudgetedModel(usual=turns.model, cheaper=turns.cheaper, spending=spending, lease=lease, journal=journal)
    limit_characters = turns.limit_characters(conversation.reply_to.channel)
    while True:
        take_decisions(journal, lease.tenant_id, turns.clock())
        match next_step(journal.events(), turns.agent.step_limit, limit_characters):
            case AskModel():
                if await journal.write(drain=turns.agent.on_busy is OnBusy.FOLD):
                    continue
                happened = await _ask(turns, model, conversation, attention, frame, journal)
            case PerformCalls(calls=(call, *_), interrupted=interrupted):
                happened = await _perform(turns, lease, attention, journal, call, interrupted=call.id in interrupted)
                if call.name == RELOAD_HARNESS:
                    turns = await turns.tailor(turns, replace(conversation, is_awake=True))
                    frame = _frame(turns, conversation)
            case CancelCalls(calls=calls):
                _cancel(journal, calls)
                continue
            case MendAnswer(event=mended):
                journal.add(mended)
                continue
            case TakeFiles(wanted=wanted):
                happened = await _take_files(turns, conversation, attention, wanted)
            case FinishTurn(reply=reply, outcome=outcome, files=files):
                replied = ReplyQueued(text=reply, files=tuple(files))
                last = [*journal.unwritten, replied, TurnFinished(outcome=outcome)]
                send = turns.sends(conversation.reply_to.channel)
                return await conversations.finish(turns.database, lease, last, reply=reply, send=send)
            case _:
                return await conversations.finish(turns.database, lease, journal.unwritten, reply="", send=False)
        match happened:
            case Halt.STOP:
                await journal.hear()
            case Halt.OVERDUE:
                journal.add(TurnOverdue())
            case Halt.INTERRUPT:
                _cancel(journal, open_calls(current_turn(journal.events()) or ()))
                last = [*journal.unwritten, TurnFinished(outcome=TurnOutcome.INTERRUPTED)]
                return await conversations.finish(turns.database, lease, last, reply="", send=False)
            case Halt.CLOSING:
                await journal.write()
                await conversations.release(turns.database, lease, delay_s=0)
                return True
            case event:
                journal.add(event)


async def _look(turns: Turns, conversation: Conversation) -> Halt | None:
    """See what was said while a step was under way, and what that means for the turn; turn it away if it must wait."""
    texts = await conversations.waiting_messages(turns.database, conversation.lease)
    if any(map(is_stop, texts)):
        return Halt.STOP
    if texts and turns.agent.on_busy is OnBusy.INTERRUPT:
        return Halt.INTERRUPT
    if texts and turns.agent.on_busy is OnBusy.REJECT:
        channel = conversation.reply_to.channel
        busy = BUSY_WHERE_STOP_BINDS if channel in LAWS else BUSY
        await conversations.turn_away(turns.database, conversation.lease, reply=busy, send=turns.sends(channel))
    return None


async def _take_files(
    turns: Turns, conversation: Conversation, attention: Attention, wanted: Mapping[str, str]
) -> Event | Halt:
    """Take the files that an answer links to. The machine is most often awake: the turn has just made them."""
    if turns.outgoing is None:
        return FilesTaken(taken=tuple(FileTaken(path=path, problem="files cannot be sent here") for path in wanted))
    take = partial(turns.outgoing.take, conversation.lease.tenant_id, conversation.reply_to, wanted)
    return await attention.during(take, closing_waits=True)


def _cancel(journal: Journal, calls: Sequence[ToolCall]) -> None:
    for call in calls:
        journal.add(ToolFinished(call_id=call.id, content=CANCELLED, is_error=True))


async def give_up(turns: Turns, lease: Lease, channel: str) -> bool:
    """End a turn that was begun in vain too often, in words. Returns whether the lease was given back."""
    last: list[Event] = [ReplyQueued(text=GIVEN_UP), TurnFinished(outcome=TurnOutcome.FAILED)]
    return await conversations.finish(turns.database, lease, last, reply=GIVEN_UP, send=turns.sends(channel))


def _frame(turns: Turns, conversation: Conversation) -> Frame:
    return make_frame(turns.instructions(conversation), turns.toolbox.definitions(), turns.window_tokens)


async def _next_prompt(
    turns: Turns, model: Model, lease: Lease, attention: Attention, frame: Frame, journal: Journal
) -> Prompt | Halt:
    """Return the prompt for the next step, once what is too long is put aside and what does not fit is summed up."""
    if halt := await keep_attachments(turns.attachments, attention, lease, journal):
        return halt
    if halt := await keep_long_messages(turns.files, attention, lease.tenant_id, turns.window_tokens, journal):
        return halt
    prompt = next_prompt(frame, journal.events())
    if not isinstance(prompt, SummaryWanted):
        return prompt
    return await summarise(model, attention, prompt, journal) or make_prompt(frame, journal.events())


async def _ask(
    turns: Turns, model: Model, conversation: Conversation, attention: Attention, frame: Frame, journal: Journal
) -> Event | Halt:
    lease = conversation.lease
    prompt = await _next_prompt(turns, model, lease, attention, frame, journal)
    if isinstance(prompt, Halt):
        return prompt
    if halt := await attention.halted():
        return halt
    if turns.live:
        limit_characters = turns.limit_characters(conversation.reply_to.channel)
        hearer = await turns.live.hearer(conversation, journal.events(), limit_characters)
        prompt = replace(prompt, hearer=hearer) if hearer else prompt
    try:
        reached(FaultPoint.MODEL_ASKING)
        reply = await attention.during(
            partial(_ask_fitted, model, frame, prompt, journal.events()), closing_waits=False
        )
        reached(FaultPoint.MODEL_REPLIED)
    except LeaseLost:
        raise
    except OverBudget as error:
        return BudgetReached(public=error.public)
    except SubclawError as error:
        log.error("conversation %d: model: %s", lease.conversation_id, error.internal)
        return ModelFailed(public=_apology(error))
    if isinstance(reply, Halt):
        return reply
    return ModelReplied(text=reply.text, calls=_with_own_ids(reply), usage=reply.usage, refused=reply.refused)


async def _ask_fitted(model: Model, frame: Frame, prompt: Prompt, events: Sequence[Event]) -> ModelReply:
    """Ask the model; once more with half as long a prompt if that one was too long for it."""
    try:
        return await model.ask(prompt)
    except TooLong as error:
        log.warning("a prompt was too long: %s", error.internal)
        return await model.ask(replace(make_half_prompt(frame, events), hearer=prompt.hearer))


def _apology(error: SubclawError) -> str:
    if isinstance(error, Unavailable | Exhausted):
        return "I can't reach my model right now. Please write again in a minute."
    if isinstance(error, TooLong):
        return (
            "This has got too long for my model, even shortened. Please say again in a few words what you would like."
        )
    return "My model can't be used at the moment, and whoever runs me has to look at it. Please try again later."


def _with_own_ids(reply: ModelReply) -> tuple[ToolCall, ...]:
    """Give each call an id of our own: providers repeat theirs from turn to turn."""
    return tuple(replace(call, id=f"call_{uuid.uuid4().hex[:16]}") for call in reply.calls)


async def _perform(
    turns: Turns, lease: Lease, attention: Attention, journal: Journal, call: ToolCall, *, interrupted: bool
) -> Event | Halt:
    """Perform a call. That it starts is written before; what it came to is written with whatever happens next."""
    caller = Caller(
        tenant_id=lease.tenant_id,
        conversation_id=lease.conversation_id,
        call_id=call.id,
        turn_id=turn_id(journal.events()),
    )
    if not interrupted and (instead := await _until_approved(turns, caller, journal.events(), call)):
        return instead  # before anything can end the turn: what is asked for is always shown
    if halt := await attention.halted():
        return halt
    if interrupted and not _repeatable(turns.toolbox, call):
        return ToolFinished(call_id=call.id, content=OUTCOME_UNKNOWN, is_error=True)
    journal.add(ToolStarted(call_id=call.id))
    await journal.write()
    reached(FaultPoint.TOOL_STARTED)
    result = await attention.during(partial(turns.toolbox.perform, caller, call), closing_waits=True)
    reached(FaultPoint.TOOL_PERFORMED)
    if isinstance(result, Halt):
        return result
    return ToolFinished(call_id=call.id, content=result.content, is_error=result.is_error)


async def _until_approved(turns: Turns, caller: Caller, events: Sequence[Event], call: ToolCall) -> Event | None:
    """Return what happens in place of a call that a person has to approve first, or that comes after one."""
    if is_approved(events, call.id):
        return None
    marked = needs_approval(turns.agent.approve, call.name) or turns.toolbox.must_be_approved(call)
    if marked and not turns.toolbox.check(call):
        if settled := await turns.toolbox.settle(caller, call):
            return ToolFinished(call_id=call.id, content=settled.content, is_error=settled.is_error)
        return ask_approval(events, call, agent=turns.agent, tenant_id=caller.tenant_id, now=turns.clock())
    if any(isinstance(event, ApprovalRequested) for event in current_turn(events) or ()):
        return ToolFinished(call_id=call.id, content=NOT_AFTER, is_error=True)
    return None


def _repeatable(toolbox: Toolbox, call: ToolCall) -> bool:
    return any(tool.idempotent for tool in toolbox.definitions() if tool.name == call.name)
