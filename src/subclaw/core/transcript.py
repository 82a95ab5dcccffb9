"""The transcript: the append-only list of events of a conversation (`event`), and the decision what comes next.

The one list is the model's history, the record that recovery goes by, the audit trail and the console's timeline.
`next_step` is pure: the worker performs its command and appends what happened, under the lease of the turn.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from subclaw.core.approval import (
    ASKED_OF_OWNER,
    CUSTOMERS_PREFIX,
    ApprovalDecided,
    ApprovalRequested,
    DecisionRefused,
    approved_call,
    ask_words,
)
from subclaw.core.event import (
    BudgetReached,
    BudgetWarned,
    Event,
    MessageReceived,
    ModelFailed,
    ModelReplied,
    Prompting,
    ScheduleDue,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    TurnOutcome,
    TurnOverdue,
    TurnStarted,
)
from subclaw.core.manners import WORDED_TOOLS, AnswerCut, AnswerEvent, AnswerSentBack, Occasion, mend_answer
from subclaw.core.message import is_stop
from subclaw.core.outgoing import FilesTaken, OutgoingFile, linked_files, mend_links, sent_files, without_links
from subclaw.core.tool import ToolCall

SAME_CALL_LIMIT = 3
"""How often one turn may make the identical call with the identical result."""


@dataclass(frozen=True, kw_only=True)
class AskModel:
    """Send the conversation to the model."""


@dataclass(frozen=True, kw_only=True)
class PerformCalls:
    """Perform these calls, in order. `interrupted` are those that had started before a crash."""

    calls: tuple[ToolCall, ...]
    interrupted: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class CancelCalls:
    """Perform none of these calls: the turn was ended after the model had made them."""

    calls: tuple[ToolCall, ...]


@dataclass(frozen=True, kw_only=True)
class MendAnswer:
    """Append this: the model's answer is not fit to be shown as it is."""

    event: AnswerEvent


@dataclass(frozen=True, kw_only=True)
class TakeFiles:
    """Take the files that the answer links to from the machine, and keep them: their titles by their paths."""

    wanted: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class FinishTurn:
    """Queue the reply, with its files, and end the turn."""

    reply: str
    outcome: TurnOutcome
    files: Sequence[OutgoingFile] = field(default=())


@dataclass(frozen=True, kw_only=True)
class Rest:
    """Nothing is to be done until somebody says something."""


Step = AskModel | PerformCalls | CancelCalls | MendAnswer | TakeFiles | FinishTurn | Rest


def next_step(events: Sequence[Event], step_limit: int, limit_characters: int | None = None) -> Step:
    """Decide what the worker does next, from the transcript alone. A turn has at most `step_limit` model calls.

    Calls that were not performed come first, unless the turn was ended after they were made. If a person has to approve
    one, the turn ends then; otherwise whatever was said and not answered goes to the model, and a model's words without
    calls are the reply: once they have manners, no more than `limit_characters`, if that is not None, and the files
    that they link to were taken.
    """
    turn = current_turn(events)
    if turn is None:
        return Rest()
    step = _step_of_turn(events, turn, step_limit, limit_characters)
    return replace(step, reply=_with_notices(turn, step.reply)) if isinstance(step, FinishTurn) else step


def _is_customers(turn: Sequence[Event]) -> bool:
    said = (event for event in turn if isinstance(event, MessageReceived))
    return any(message.provider_id.startswith(CUSTOMERS_PREFIX) for message in said)


def _step_of_turn(
    events: Sequence[Event], turn: Sequence[Event], step_limit: int, limit_characters: int | None
) -> Step:
    if ended := open_calls(_until_ended(turn)):
        return CancelCalls(calls=ended)
    if to_do := open_calls(turn):
        return PerformCalls(calls=to_do, interrupted=_interrupted(turn, to_do))
    if asked := [event for event in turn if isinstance(event, ApprovalRequested)]:
        reply = ASKED_OF_OWNER if _is_customers(turn) else ask_words(asked)
        return FinishTurn(reply=reply, outcome=TurnOutcome.WAITING)
    stuck = _why_stuck(turn, step_limit)
    last = _last_of_weight(turn)
    if (answer := _answer(turn, last)) is not None:
        may_send_back = not stuck and _sent_back(turn) is None
        mended = mend_answer(answer, _occasion(events, turn, limit_characters), may_send_back=may_send_back)
        if mended:
            return MendAnswer(event=mended)
        return _answered(turn, answer or "I have nothing to add.", may_send_back=may_send_back)
    match last:
        case None if _notices(turn):
            return FinishTurn(reply="", outcome=TurnOutcome.ANSWERED)
        case ModelFailed(public=public):
            return FinishTurn(reply=public, outcome=TurnOutcome.MODEL_FAILED)
        case BudgetReached(public=public):
            return FinishTurn(reply=public, outcome=TurnOutcome.OVER_BUDGET)
        case TurnOverdue():
            return FinishTurn(reply=OVERDUE, outcome=TurnOutcome.STUCK)
        case MessageReceived(text=text) if is_stop(text):
            return FinishTurn(reply=_stopped(turn), outcome=TurnOutcome.STOPPED)
        case AnswerCut(text=text):
            return _answered(turn, text, may_send_back=False)
        case _ if stuck:
            return FinishTurn(reply=_warned(turn, stuck), outcome=TurnOutcome.STUCK)
        case _:
            return AskModel()


def _answered(turn: Sequence[Event], answer: str, *, may_send_back: bool) -> Step:
    """Return the end of the turn, or what comes before it: files that the answer links to."""
    taken = FilesTaken(taken=())
    if wanted := linked_files(answer):
        if (found := _files_taken(turn)) is None:
            return TakeFiles(wanted=wanted)
        taken = found
    if mended := mend_links(answer, taken, may_send_back=may_send_back):
        return MendAnswer(event=mended)
    words = without_links(answer) if wanted else answer
    return FinishTurn(reply=_warned(turn, words), outcome=TurnOutcome.ANSWERED, files=sent_files(answer, taken))


def _files_taken(turn: Sequence[Event]) -> FilesTaken | None:
    """Return what came of the files of the model's last answer, or None if they were not taken yet."""
    for event in reversed(turn):
        match event:
            case FilesTaken():
                return event
            case ModelReplied():
                return None
    return None


def _sent_back(turn: Sequence[Event]) -> int | None:
    """Return where an answer of the turn was sent back, or None."""
    return next((index for index, event in enumerate(turn) if isinstance(event, AnswerSentBack)), None)


def _answer(turn: Sequence[Event], last: Event | None) -> str | None:
    """Return the model's answer, if the turn has come to one: the first one, if a better one was asked for in vain."""
    sent_back = _sent_back(turn)
    if sent_back is not None and not any(isinstance(event, Prompting) for event in turn[sent_back:]):
        match last:
            case ModelFailed() | BudgetReached() | TurnOverdue() | ModelReplied(text="", calls=()):
                return _last_text(turn[:sent_back])
            case ModelReplied(calls=(), refused=True):
                return _last_text(turn[:sent_back])
    return last.text if isinstance(last, ModelReplied) and not last.calls else None


def _last_text(events: Sequence[Event]) -> str:
    """Return the words of the model's last reply."""
    return next((event.text for event in reversed(events) if isinstance(event, ModelReplied)), "")


def _occasion(events: Sequence[Event], turn: Sequence[Event], limit_characters: int | None) -> Occasion:
    """Return what an answer of the turn is held against."""
    worded = {call.id for call in _made_calls(turn) if call.name in WORDED_TOOLS}
    finished = (event for event in turn if isinstance(event, ToolFinished))
    return Occasion(
        results=[event.content for event in finished if event.call_id not in worded],
        said="\n".join(event.text for event in turn if isinstance(event, MessageReceived | ScheduleDue)),
        before=_last_text(events[: len(events) - len(turn)]),
        limit_characters=limit_characters,
    )


def occasion_of(events: Sequence[Event], limit_characters: int | None) -> Occasion:
    """Return what an answer of the turn that runs is held against."""
    return _occasion(events, current_turn(events) or (), limit_characters)


def turn_id(events: Sequence[Event]) -> str:
    """Return what names the turn that runs once it has called a tool: the id of its first call. Empty before that."""
    return next((call.id for call in _made_calls(current_turn(events) or ())), "")


def current_turn(events: Sequence[Event]) -> Sequence[Event] | None:
    """Return the events since the last turn began, or None if no turn runs."""
    for index in range(len(events) - 1, -1, -1):
        match events[index]:
            case TurnFinished():
                return None
            case TurnStarted():
                return events[index + 1 :]
    return None


OUTCOME_UNKNOWN = "This was interrupted, and whether it took effect is unknown. Check before you do it again."
"""What a model is told of a call that had started before a crash and cannot safely be made again."""


CANCELLED = "The turn was ended before this was finished. If it had begun, it may have taken effect, or a part of it."
"""What a model is told of a call that was cancelled."""

OVERDUE = (
    "I have worked on this for as long as I may at a time, so I have stopped. Tell me how you would like to go on."
)


def open_calls(turn: Sequence[Event]) -> tuple[ToolCall, ...]:
    """Return the calls that were made and have come to nothing yet, in order."""
    finished = {event.call_id for event in turn if isinstance(event, ToolFinished)}
    finished |= {event.call.id for event in turn if isinstance(event, ApprovalRequested)}
    return tuple(call for call in _made_calls(turn) if call.id not in finished)


def _made_calls(turn: Sequence[Event]) -> list[ToolCall]:
    """Return the calls of a turn in order: the model's, and those that a person approved."""
    made: list[ToolCall] = []
    for event in turn:
        match event:
            case ModelReplied(calls=calls):
                made += calls
            case ApprovalDecided(request=request, approved=True):
                made.append(approved_call(request))
    return made


def _until_ended(turn: Sequence[Event]) -> Sequence[Event]:
    """Return what came before a person or the time ended the turn, with the results that came later; else nothing."""
    ends = [index for index, event in enumerate(turn) if ends_turn(event)]
    if not ends:
        return ()
    return [event for index, event in enumerate(turn) if index < ends[-1] or isinstance(event, ToolFinished)]


def ends_turn(event: Event) -> bool:
    """Say whether a person or the time ended the turn here."""
    return isinstance(event, TurnOverdue) or (isinstance(event, MessageReceived) and is_stop(event.text))


def _stopped(turn: Sequence[Event]) -> str:
    return "There is nothing to stop." if all(map(ends_turn, turn)) else "Stopped."


def _warned(turn: Sequence[Event], reply: str) -> str:
    """Add to a reply what the person is to know of the budget."""
    return "\n\n".join(filter(None, [reply, *(event.public for event in turn if isinstance(event, BudgetWarned))]))


def _interrupted(turn: Sequence[Event], open_calls: Sequence[ToolCall]) -> frozenset[str]:
    started = {event.call_id for event in turn if isinstance(event, ToolStarted)}
    return frozenset(call.id for call in open_calls if call.id in started)


def _last_of_weight(turn: Sequence[Event]) -> Event | None:
    """Return what is to be answered, or the answer. A message that could decide nothing is answered by itself."""
    weighty = Prompting | ModelReplied | ModelFailed | TurnOverdue | BudgetReached | ApprovalDecided | AnswerEvent
    answered = {event.provider_id for event in turn if isinstance(event, DecisionRefused)}
    for event in reversed(turn):
        away = isinstance(event, MessageReceived) and (event.turned_away or event.provider_id in answered)
        if isinstance(event, weighty) and not away:
            return event
    return None


NOTICE_LIMIT = 3
"""Most notices that a reply begins with, the latest."""


def _notices(turn: Sequence[Event]) -> list[str]:
    """Return what the person is to be told beside the answer, of decisions that could not be taken."""
    notices = dict.fromkeys(event.public for event in turn if isinstance(event, DecisionRefused))
    return list(notices)[-NOTICE_LIMIT:]


def _with_notices(turn: Sequence[Event], reply: str) -> str:
    return "\n\n".join([*_notices(turn), *([reply] if reply else [])])


def _why_stuck(turn: Sequence[Event], step_limit: int) -> str:
    replies = [event for event in turn if isinstance(event, ModelReplied)]
    if len(replies) >= step_limit:
        return f"I stopped after {step_limit} steps without getting to an answer. Tell me how you would like to go on."
    results = {event.call_id: event.content for event in turn if isinstance(event, ToolFinished)}
    made = [(call.name, call.arguments, results.get(call.id)) for reply in replies for call in reply.calls]
    if made and made.count(made[-1]) >= SAME_CALL_LIMIT:
        return (
            "I stopped, because I kept doing the same thing with the same result. Tell me how you would like to go on."
        )
    return ""
