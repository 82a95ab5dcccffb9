"""The history: what a model is told of a conversation's events, from the last summary on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from subclaw.core.access import AccessDecided, SecretSet
from subclaw.core.access_words import decided_words, lost_words, removed_words, set_words
from subclaw.core.approval import (
    ApprovalDecided,
    ApprovalLapsed,
    ApprovalRequested,
    DecisionRefused,
    approved_call,
    declined_words,
    lapsed_words,
    waiting_words,
)
from subclaw.core.attachment import AttachmentKept, attachment_words
from subclaw.core.event import (
    AttachmentsKept,
    BudgetReached,
    Event,
    HistorySummarised,
    MessageKept,
    MessageReceived,
    ModelFailed,
    ModelReplied,
    Prompting,
    ReplyQueued,
    ScheduleDue,
    ToolFinished,
    TurnStarted,
)
from subclaw.core.manners import AnswerCut, AnswerSentBack
from subclaw.core.model import ModelSaid, ToolSaid, UserSaid, Utterance
from subclaw.core.oauth import AccountLost
from subclaw.core.transcript import OUTCOME_UNKNOWN, current_turn

Files = tuple[AttachmentKept, ...]

REFUSED = "[Nobody wrote. What the person said here is left out, because you declined to answer it.]"


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a model is told of the event at `index`: never nothing."""

    index: int
    said: tuple[Utterance, ...]


def history(events: Sequence[Event]) -> tuple[Utterance, ...]:
    """Return the conversation as a model sees it since the last summary, oldest first.

    Every call that a model made is followed by its result, as providers demand; a call without one is told as unknown.
    One that a person had to approve stays as it was when it waited, so that what a model was sent once does not change;
    the decision follows, and the call as it was performed. What a model refused to answer is not told again: a model
    that meets it in each prompt refuses them all.
    """
    return tuple(utterance for one in told(events) for utterance in one.said)


def told(events: Sequence[Event]) -> tuple[Told, ...]:
    """Return what a model is told of each event that it is told of, from the last summary on."""
    results = {event.call_id: event.content for event in events if isinstance(event, ToolFinished)}
    results |= {event.call.id: waiting_words(event) for event in events if isinstance(event, ApprovalRequested)}
    kept = {event.provider_id: event for event in events if isinstance(event, MessageKept)}
    files = {event.provider_id: event.kept for event in events if isinstance(event, AttachmentsKept)}
    refused = _refused(events)
    pairs = (
        (index, _said_refused(events[index]) if index in refused else _said(events[index], results, kept, files))
        for index in _since_summary(events)
    )
    return tuple(Told(index=index, said=said) for index, said in pairs if said)


def last_summary(events: Sequence[Event]) -> int | None:
    """Return the index of the last summary, or None if there is none."""
    found = (index for index in range(len(events) - 1, -1, -1) if isinstance(events[index], HistorySummarised))
    return next(found, None)


def shorten_message(text: str, shown_characters: int, path: str = "") -> str:
    """Return the beginning and the end of a message, and between them how much there is and where, if anywhere."""
    left_out = len(text) - 2 * shown_characters
    if left_out <= 0:
        return text
    where = f"the whole message is in {path}" if path else "if you need them, ask for them in parts"
    note = f"[… {left_out:,} of {len(text):,} characters are left out here; {where} …]"
    return f"{text[:shown_characters]}\n{note}\n{text[len(text) - shown_characters :]}"


def _since_summary(events: Sequence[Event]) -> Sequence[int]:
    """Return which events are told: the last summary, what it left word for word, and what came after it."""
    last = last_summary(events)
    if last is None:
        return range(len(events))
    summary = events[last]
    assert isinstance(summary, HistorySummarised)
    replies = [index for index in range(last) if isinstance(events[index], ModelReplied | ModelFailed)]
    dropped = replies[: max(len(replies) - summary.kept_replies, 0)]
    word_for_word = dropped[-1] + 1 if dropped else 0
    began = last - len(current_turn(events[:last]) or ())
    own = (index for index in range(began, word_for_word) if isinstance(events[index], Prompting))
    between = (index for index in range(word_for_word, last) if not isinstance(events[index], HistorySummarised))
    return [last, *own, *between, *range(last + 1, len(events))]


def _refused(events: Sequence[Event]) -> frozenset[int]:
    """Return the events that led to a refusal: those of its turn until then, but for a summary of what was before."""
    refused: set[int] = set()
    began = 0
    for index, event in enumerate(events):
        if isinstance(event, TurnStarted):
            began = index
        elif isinstance(event, ModelReplied) and event.refused:
            refused |= {n for n in range(began, index) if not isinstance(events[n], HistorySummarised)}
    return frozenset(refused)


def _message_words(message: MessageReceived, short: MessageKept | None, files: Files | None) -> str:
    text = message.text
    shown = shorten_message(text, short.shown_characters, short.path) if short else text
    lines = [f"[{message.speaker}:] {shown}" if message.speaker else shown]
    if message.attachments:
        lines.append(attachment_words(message.attachments, files))
    if message.removed:
        lines.append(removed_words(message.removed))
    return "\n".join(filter(None, lines))


def _said_refused(event: Event) -> tuple[Utterance, ...]:
    return (UserSaid(text=REFUSED),) if isinstance(event, Prompting) else ()


def _said(
    event: Event, results: Mapping[str, str], kept: Mapping[str, MessageKept], files: Mapping[str, Files]
) -> tuple[Utterance, ...]:
    """Return what a model is told of an event.

    `kept` are the messages that are not told whole, and `files` those that came with one, by provider's id.
    """
    match event:
        case MessageReceived(turned_away=False):
            return (UserSaid(text=_message_words(event, kept.get(event.provider_id), files.get(event.provider_id))),)
        case ScheduleDue(schedule_id=id, text=text):
            return (UserSaid(text=f"[Nobody wrote. Schedule {id}, which you set, is due:]\n{text}"),)
        case AccountLost(provider=provider, name=name):
            return (UserSaid(text=lost_words(provider, name)),)
        case AccessDecided():
            return (UserSaid(text=decided_words(event)),)
        case SecretSet(name=name, binding=binding):
            return (UserSaid(text=set_words(name, binding)),)
        case ReplyQueued(text=text, schedule_id=int(id)):
            # Not as the model's own words: a history that ends with those has nothing to answer.
            return (UserSaid(text=f"[Nobody wrote. Schedule {id} was due; the person got its text:]\n{text}"),)
        case ReplyQueued(text=text, from_conversation_id=int()):
            return (UserSaid(text=f"[Nobody wrote. You sent the person this from another conversation:]\n{text}"),)
        case ModelReplied(text=text, calls=calls):
            answers = (ToolSaid(call=call, content=results.get(call.id, OUTCOME_UNKNOWN)) for call in calls)
            return (ModelSaid(text=text, calls=calls), *answers)
        case ModelFailed(public=public):
            return (ModelSaid(text=public),)
        case ApprovalDecided(request=request, approved=True):
            call = approved_call(request)
            answer = ToolSaid(call=call, content=results.get(call.id, OUTCOME_UNKNOWN))
            return (ModelSaid(text="", calls=(call,)), answer)
        case ApprovalDecided(request=request):
            return (UserSaid(text=declined_words(request)),)
        case ApprovalLapsed():
            return (UserSaid(text=lapsed_words(event)),)
        case DecisionRefused(public=public) | BudgetReached(public=public):
            return (UserSaid(text=f"[Nobody wrote. The person was told: {public}]"),)
        case AnswerSentBack(request=words) | AnswerCut(left_out=words):
            return (UserSaid(text=f"[Nobody wrote. {words}]"),)
        case HistorySummarised(text=text):
            return (UserSaid(text=f"[Nobody wrote. This is your own summary of what was said before:]\n{text}"),)
        case _:
            return ()
