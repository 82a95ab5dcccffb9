"""Decisions: what the messages of a turn that say OK or NO to a code come to. Pure; the model has no part in it."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from subclaw.core.approval import (
    CUSTOMERS_PREFIX,
    WRONG_CODE_LIMIT,
    ApprovalDecided,
    ApprovalEvent,
    ApprovalLapsed,
    ApprovalRequested,
    Decision,
    DecisionRefused,
    LapseReason,
    expired_words,
    parse_decision,
)
from subclaw.core.event import Event, MessageReceived
from subclaw.core.transcript import current_turn, ends_turn


def settle(events: Sequence[Event], *, now: datetime, speaker: str) -> tuple[ApprovalEvent, ...]:
    """Return what is to be recorded of the messages of the turn that decide something and were not settled yet.

    `speaker` is whose messages they are. Where nothing was ever asked for, "OK 4821" is a message like any other. What
    was said before the word to stop decides nothing any more, and what a business's customer says never does.
    """
    turn = current_turn(events) or ()
    settled: list[ApprovalEvent] = []
    for index, message in enumerate(turn, start=len(events) - len(turn)):
        if not isinstance(message, MessageReceived) or message.turned_away:
            continue
        if message.provider_id.startswith(CUSTOMERS_PREFIX):
            continue
        decision = parse_decision(message.text)
        asked = requests(events[:index]) if decision else ()
        if decision and asked and not _is_settled(turn, message) and not any(map(ends_turn, events[index:])):
            settled += _settle_one(asked, [*events, *settled], message, decision, now, speaker)
    return tuple(settled)


def requests(events: Iterable[Event]) -> tuple[ApprovalRequested, ...]:
    """Return all that persons were asked to approve, oldest first."""
    return tuple(event for event in events if isinstance(event, ApprovalRequested))


def open_requests(events: Sequence[Event]) -> tuple[ApprovalRequested, ...]:
    """Return what waits for a decision, oldest first."""
    closed = {event.request.approval_id for event in events if isinstance(event, ApprovalDecided | ApprovalLapsed)}
    return tuple(request for request in requests(events) if request.approval_id not in closed)


def is_approved(events: Sequence[Event], call_id: str) -> bool:
    """Return whether a person said yes to this call."""
    return any(
        isinstance(event, ApprovalDecided) and event.approved and event.request.approval_id == call_id
        for event in events
    )


def _is_settled(turn: Iterable[Event], message: MessageReceived) -> bool:
    decided = (event for event in turn if isinstance(event, ApprovalDecided | DecisionRefused))
    return any(event.provider_id == message.provider_id for event in decided)


def _settle_one(
    asked: Sequence[ApprovalRequested],
    events: Sequence[Event],
    message: MessageReceived,
    decision: Decision,
    now: datetime,
    speaker: str,
) -> list[ApprovalEvent]:
    request = next((request for request in reversed(asked) if request.code == decision.code), None)
    if request is None:
        return _wrong_code(events, message, decision.code)
    if why := _why_not_open(events, request):
        return [_refused(message, why)]
    if now >= request.expires_at:
        lapsed = ApprovalLapsed(request=request, reason=LapseReason.EXPIRED)
        return [lapsed, _refused(message, expired_words(request))]
    if request.approver != speaker:
        return [_refused(message, f"{request.code} is for somebody else to decide.")]
    return [ApprovalDecided(request=request, approved=decision.approves, by=speaker, provider_id=message.provider_id)]


def _wrong_code(events: Sequence[Event], message: MessageReceived, code: str) -> list[ApprovalEvent]:
    void = [request for request in open_requests(events) if _wrong_codes_since(events, request) + 1 >= WRONG_CODE_LIMIT]
    public = f"There is nothing to decide with the code {code}."
    if void:
        codes = " and ".join(request.code for request in void)
        public += (
            f" Too many codes were wrong, so I have withdrawn {codes}, and nothing was done. Tell me if you want it."
        )
    lapsed = [ApprovalLapsed(request=request, reason=LapseReason.VOID) for request in void]
    return [*lapsed, DecisionRefused(provider_id=message.provider_id, public=public, wrong_code=True)]


def _wrong_codes_since(events: Sequence[Event], request: ApprovalRequested) -> int:
    since = events[events.index(request) :]
    return sum(isinstance(event, DecisionRefused) and event.wrong_code for event in since)


def _why_not_open(events: Iterable[Event], request: ApprovalRequested) -> str:
    """Return why a request can be decided no more, for the person; nothing if it can."""
    for event in events:
        match event:
            case ApprovalDecided(approved=approved) if event.request.approval_id == request.approval_id:
                return _decided_before(request.code, approved=approved)
            case ApprovalLapsed(reason=LapseReason.EXPIRED) if event.request.approval_id == request.approval_id:
                return expired_words(request)
            case ApprovalLapsed() if event.request.approval_id == request.approval_id:
                return f"I have withdrawn {request.code}, and nothing was done. Tell me if you still want it."
    return ""


def _decided_before(code: str, *, approved: bool) -> str:
    if approved:
        return f"You have said OK to {code} already. It is done once."
    return f"You have said NO to {code} already, so it was not done. Tell me if you want it after all."


def _refused(message: MessageReceived, why: str) -> DecisionRefused:
    return DecisionRefused(provider_id=message.provider_id, public=why, wrong_code=False)
