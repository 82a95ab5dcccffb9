"""What messages that say OK or NO to a code come to, and what the turn does then."""

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from subclaw.core.approval import (
    WRONG_CODE_LIMIT,
    ApprovalDecided,
    ApprovalEvent,
    ApprovalLapsed,
    ApprovalRequested,
    DecisionRefused,
    LapseReason,
    approved_call,
    ask_words,
    digest,
    waiting_words,
)
from subclaw.core.decision import is_approved, open_requests, settle
from subclaw.core.event import (
    Event,
    MessageReceived,
    ModelReplied,
    ScheduleDue,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    TurnOutcome,
    TurnStarted,
)
from subclaw.core.history import history
from subclaw.core.model import ModelSaid, ToolSaid, Usage, UserSaid
from subclaw.core.tool import ToolCall
from subclaw.core.transcript import AskModel, CancelCalls, FinishTurn, PerformCalls, next_step, turn_id

NOW = datetime(2026, 11, 21, 13, 5, tzinfo=UTC)
ME = "tenant 1"
STEP_LIMIT = 25
USAGE = Usage(model="m", input_tokens=1, output_tokens=1)

_ids = itertools.count()


def message(text: str) -> MessageReceived:
    return MessageReceived(text=text, provider_id=f"p{next(_ids)}")


def asked(code: str = "4821", *, approver: str = ME) -> ApprovalRequested:
    call = ToolCall(id=f"call_m{code}", name="publish_site", arguments="{}")
    return ApprovalRequested(
        approval_id=f"call_a{code}",
        call=call,
        arguments_digest=digest("{}"),
        code=code,
        approver=approver,
        expires_at=NOW + timedelta(hours=1),
    )


def turn_that_asked(*requests: ApprovalRequested) -> list[Event]:
    calls = tuple(request.call for request in requests)
    replied = ModelReplied(text="", calls=calls, usage=USAGE)
    return [TurnStarted(), message("publish it"), replied, *requests, TurnFinished(outcome=TurnOutcome.WAITING)]


def settled(events: Sequence[Event], *, now: datetime = NOW) -> list[Event]:
    """Return the events with what their decisions come to."""
    return [*events, *settle(events, now=now, speaker=ME)]


def turn_of(before: Sequence[Event], *texts: str, now: datetime = NOW) -> list[Event]:
    """Return the events once another turn has begun with these texts."""
    return settled([*before, TurnStarted(), *map(message, texts)], now=now)


def refusals(events: Sequence[Event]) -> list[str]:
    return [event.public for event in events if isinstance(event, DecisionRefused)]


def closings(events: Sequence[Event]) -> list[ApprovalEvent]:
    return [event for event in events if isinstance(event, ApprovalDecided | ApprovalLapsed)]


REQUEST = asked()
ASKED = turn_that_asked(REQUEST)
END = TurnFinished(outcome=TurnOutcome.ANSWERED)


def test_a_request_ends_the_turn_with_the_question() -> None:
    step = next_step(ASKED[:-1], STEP_LIMIT)
    assert step == FinishTurn(reply=ask_words([REQUEST]), outcome=TurnOutcome.WAITING)


def test_the_other_calls_come_first() -> None:
    read = ToolCall(id="call_r", name="read_file", arguments="{}")
    replied = ModelReplied(text="", calls=(REQUEST.call, read), usage=USAGE)
    events: list[Event] = [TurnStarted(), message("go"), replied, REQUEST]
    assert next_step(events, STEP_LIMIT) == PerformCalls(calls=(read,), interrupted=frozenset())


def test_an_ok_performs_what_was_shown_as_a_call_of_its_own() -> None:
    events = turn_of(ASKED, "OK 4821")
    call = approved_call(REQUEST)
    assert call.id not in (REQUEST.call.id, "")
    assert next_step(events, STEP_LIMIT) == PerformCalls(calls=(call,), interrupted=frozenset())
    assert is_approved(events, call.id)
    assert not is_approved(events, REQUEST.call.id)
    assert turn_id(events) == call.id
    events += [ToolStarted(call_id=call.id)]
    assert next_step(events, STEP_LIMIT) == PerformCalls(calls=(call,), interrupted=frozenset({call.id}))
    events += [ToolFinished(call_id=call.id, content="live", is_error=False)]
    assert next_step(events, STEP_LIMIT) == AskModel()
    assert history(events)[1:] == (
        ModelSaid(text="", calls=(REQUEST.call,)),
        ToolSaid(call=REQUEST.call, content=waiting_words(REQUEST)),
        UserSaid(text="OK 4821"),
        ModelSaid(text="", calls=(call,)),
        ToolSaid(call=call, content="live"),
    )


def test_a_no_is_told_to_the_model() -> None:
    events = turn_of(ASKED, "NO 4821")
    assert next_step(events, STEP_LIMIT) == AskModel()
    last = history(events)[-1]
    assert isinstance(last, UserSaid)
    assert "declined publish_site" in last.text
    assert open_requests(events) == ()


def test_what_was_settled_is_not_settled_again() -> None:
    for text in ("OK 4821", "NO 4821", "OK 9999"):
        events = turn_of(ASKED, text)
        assert settle(events, now=NOW, speaker=ME) == ()


def test_a_text_meanwhile_is_answered_as_usual_and_changes_nothing_before_it() -> None:
    events = turn_of(ASKED, "what is that?")
    assert next_step(events, STEP_LIMIT) == AskModel()
    assert open_requests(events) == (REQUEST,)
    before = history(events)
    assert before[-2:] == (ToolSaid(call=REQUEST.call, content=waiting_words(REQUEST)), UserSaid(text="what is that?"))
    later = turn_of([*events, ModelReplied(text="a page", calls=(), usage=USAGE), END], "OK 4821")
    assert history(later)[: len(before)] == before


@pytest.mark.parametrize("first", ["OK 4821", "NO 4821"])
@pytest.mark.parametrize("second", ["OK 4821", "NO 4821"])
@pytest.mark.parametrize("at_once", [True, False])
def test_it_is_decided_once(first: str, second: str, at_once: bool) -> None:
    if at_once:
        events = turn_of(ASKED, first, second)
    else:
        events = turn_of([*turn_of(ASKED, first), END], second)
        (again,) = refusals(events)
        assert next_step(events, STEP_LIMIT) == FinishTurn(reply=again, outcome=TurnOutcome.ANSWERED)
    (decided,) = closings(events)
    assert isinstance(decided, ApprovalDecided)
    assert decided.approved == first.startswith("OK")
    assert decided.by == ME
    (again,) = refusals(events)
    assert f"{first[:2]} to 4821 already" in again


def test_a_late_one_is_told_so() -> None:
    events = turn_of(ASKED, "OK 4821", now=REQUEST.expires_at)
    assert closings(events) == [ApprovalLapsed(request=REQUEST, reason=LapseReason.EXPIRED)]
    (late,) = refusals(events)
    assert "expired" in late
    assert next_step(events, STEP_LIMIT) == FinishTurn(reply=late, outcome=TurnOutcome.ANSWERED)
    later = turn_of([*events, END], "OK 4821", now=REQUEST.expires_at)
    assert refusals(later) == [late, late]
    assert len(closings(later)) == 1


def test_an_unknown_code_asks_no_model_and_decides_nothing() -> None:
    events = turn_of(ASKED, "OK 9999")
    (unknown,) = refusals(events)
    assert "9999" in unknown
    assert next_step(events, STEP_LIMIT) == FinishTurn(reply=unknown, outcome=TurnOutcome.ANSWERED)
    assert open_requests(events) == (REQUEST,)


def test_too_many_wrong_codes_withdraw_what_was_asked_for() -> None:
    events: list[Event] = ASKED
    for number in range(WRONG_CODE_LIMIT):
        assert open_requests(events) == (REQUEST,)
        events = [*turn_of(events, f"OK 900{number}"), END]
    assert closings(events) == [ApprovalLapsed(request=REQUEST, reason=LapseReason.VOID)]
    assert "withdrawn 4821" in refusals(events)[-1]
    late = turn_of(events, "OK 4821")
    assert "withdrawn" in refusals(late)[-1]
    assert next_step(late, STEP_LIMIT) == FinishTurn(reply=refusals(late)[-1], outcome=TurnOutcome.ANSWERED)


def test_wrong_codes_at_once_count_too() -> None:
    events = turn_of(ASKED, *(f"OK 900{number}" for number in range(WRONG_CODE_LIMIT)), "OK 4821")
    assert closings(events) == [ApprovalLapsed(request=REQUEST, reason=LapseReason.VOID)]


def test_wrong_codes_before_a_request_do_not_count_for_it() -> None:
    events: list[Event] = [*turn_of(ASKED, *(f"OK 900{number}" for number in range(WRONG_CODE_LIMIT - 1))), END]
    other = asked("1111")
    events = turn_of([*events, *turn_that_asked(other)], "OK 9009")
    assert closings(events) == [ApprovalLapsed(request=REQUEST, reason=LapseReason.VOID)]
    assert open_requests(events) == (other,)


def test_a_code_decides_its_own_request() -> None:
    first, second = asked("1111"), asked("2222")
    events = turn_of(turn_that_asked(first, second), "OK 2222")
    assert open_requests(events) == (first,)
    assert next_step(events, STEP_LIMIT) == PerformCalls(calls=(approved_call(second),), interrupted=frozenset())


def test_two_may_be_decided_in_one_turn() -> None:
    first, second = asked("1111"), asked("2222")
    events = turn_of(turn_that_asked(first, second), "OK 2222", "OK 1111")
    both = (approved_call(second), approved_call(first))
    assert next_step(events, STEP_LIMIT) == PerformCalls(calls=both, interrupted=frozenset())


def test_only_the_approver_decides() -> None:
    request = asked(approver="operator")
    events = turn_of(turn_that_asked(request), "OK 4821")
    assert open_requests(events) == (request,)
    assert "somebody else" in refusals(events)[0]


def test_where_nothing_was_asked_a_code_is_a_message_like_any_other() -> None:
    events = turn_of([], "OK 4821")
    assert events[2:] == []
    assert next_step(events, STEP_LIMIT) == AskModel()


def test_what_was_said_before_the_request_does_not_decide_it() -> None:
    replied = ModelReplied(text="", calls=(REQUEST.call,), usage=USAGE)
    events = settled([TurnStarted(), message("OK 4821"), replied, REQUEST])
    assert closings(events) == []


@pytest.mark.parametrize("text", ["OK 4821", "NO 4821", "OK 9999"])
def test_stop_comes_before_what_was_decided_with_it(text: str) -> None:
    events = turn_of(ASKED, text, "stop")
    assert open_requests(events) == (REQUEST,)
    assert next_step(events, STEP_LIMIT) == FinishTurn(reply="Stopped.", outcome=TurnOutcome.STOPPED)
    assert open_requests(turn_of([*events, END], "hello")) == (REQUEST,), "what was not heard then is not heard later"


def test_what_is_decided_after_stop_is() -> None:
    call = approved_call(REQUEST)
    assert next_step(turn_of(ASKED, "stop", "OK 4821"), STEP_LIMIT) == PerformCalls(
        calls=(call,), interrupted=frozenset()
    )


def test_stop_ends_what_was_approved_and_has_not_ended() -> None:
    events = [*turn_of(ASKED, "OK 4821"), message("stop")]
    assert next_step(events, STEP_LIMIT) == CancelCalls(calls=(approved_call(REQUEST),))


def test_what_was_turned_away_decides_nothing() -> None:
    away = MessageReceived(text="OK 4821", provider_id="away", turned_away=True)
    events = settled([*ASKED, TurnStarted(), message("hello"), away])
    assert closings(events) == []


def test_a_schedule_of_the_agents_own_decides_nothing() -> None:
    events = settled([*ASKED, TurnStarted(), ScheduleDue(schedule_id=1, text="OK 4821")])
    assert closings(events) == []


def test_what_else_was_said_is_answered_beside_it() -> None:
    events = turn_of(ASKED, "OK 9999", "and make it blue")
    assert next_step(events, STEP_LIMIT) == AskModel()
    events.append(ModelReplied(text="Blue it is.", calls=(), usage=USAGE))
    reply = f"{refusals(events)[0]}\n\nBlue it is."
    assert next_step(events, STEP_LIMIT) == FinishTurn(reply=reply, outcome=TurnOutcome.ANSWERED)
    assert UserSaid(text=f"[Nobody wrote. The person was told: {refusals(events)[0]}]") in history(events)


def test_what_has_expired_is_told_to_the_model() -> None:
    events = [*ASKED, ApprovalLapsed(request=REQUEST, reason=LapseReason.EXPIRED), TurnStarted(), message("hm")]
    assert any(
        isinstance(said, UserSaid) and "4821 for publish_site has expired" in said.text for said in history(events)
    )
