"""The next step, decided from the transcript alone."""

import pytest

from subclaw.core.event import (
    BudgetReached,
    BudgetWarned,
    Event,
    MessageReceived,
    ModelFailed,
    ModelReplied,
    ReplyQueued,
    ScheduleDue,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    TurnOutcome,
    TurnOverdue,
    TurnStarted,
)
from subclaw.core.history import history
from subclaw.core.manners import AnswerCut, AnswerSentBack
from subclaw.core.model import ModelSaid, ToolSaid, Usage, UserSaid
from subclaw.core.tool import ToolCall
from subclaw.core.transcript import (
    OUTCOME_UNKNOWN,
    OVERDUE,
    SAME_CALL_LIMIT,
    AskModel,
    CancelCalls,
    FinishTurn,
    MendAnswer,
    PerformCalls,
    Rest,
    Step,
    next_step,
)

USAGE = Usage(model="m", input_tokens=1, output_tokens=1)
HELLO = MessageReceived(text="hello", provider_id="1")
STOP = MessageReceived(text="Stop.", provider_id="2")
TURNED_AWAY = MessageReceived(text="and?", provider_id="3", turned_away=True)
DUE = ScheduleDue(schedule_id=7, text="water the plants")
REMINDED = ReplyQueued(text="drink", schedule_id=8)

WARNED = BudgetWarned(public="nearly used", until="infinity")

STEP_LIMIT = 25


def replied(text: str = "", *calls: ToolCall) -> ModelReplied:
    return ModelReplied(text=text, calls=calls, usage=USAGE)


def call(id: str, arguments: str = "{}") -> ToolCall:
    return ToolCall(id=id, name="shell_exec", arguments=arguments)


def finished(id: str, content: str = "ok") -> ToolFinished:
    return ToolFinished(call_id=id, content=content, is_error=False)


ONE, TWO = call("1"), call("2")


@pytest.mark.parametrize(
    ("events", "step"),
    [
        ([], Rest()),
        ([TurnStarted(), HELLO], AskModel()),
        ([TurnStarted(), DUE], AskModel()),
        ([TurnStarted(), HELLO, replied("hi"), DUE], AskModel()),
        ([TurnStarted(), HELLO, REMINDED, replied("hi")], FinishTurn(reply="hi", outcome=TurnOutcome.ANSWERED)),
        ([TurnStarted(), HELLO, replied("hi"), REMINDED], FinishTurn(reply="hi", outcome=TurnOutcome.ANSWERED)),
        ([REMINDED], Rest()),
        ([TurnStarted(), HELLO, replied("hi")], FinishTurn(reply="hi", outcome=TurnOutcome.ANSWERED)),
        ([TurnStarted(), HELLO, replied("", ONE)], PerformCalls(calls=(ONE,), interrupted=frozenset())),
        (
            [TurnStarted(), HELLO, replied("", ONE, TWO), ToolStarted(call_id="1"), finished("1")],
            PerformCalls(calls=(TWO,), interrupted=frozenset()),
        ),
        (
            [TurnStarted(), HELLO, replied("", ONE), ToolStarted(call_id="1")],
            PerformCalls(calls=(ONE,), interrupted=frozenset({"1"})),
        ),
        ([TurnStarted(), HELLO, replied("", ONE), finished("1")], AskModel()),
        ([TurnStarted(), STOP], FinishTurn(reply="There is nothing to stop.", outcome=TurnOutcome.STOPPED)),
        ([TurnStarted(), HELLO, STOP], FinishTurn(reply="Stopped.", outcome=TurnOutcome.STOPPED)),
        ([TurnStarted(), HELLO, STOP, HELLO], AskModel()),
        ([TurnStarted(), HELLO, replied("", ONE, TWO), finished("1"), STOP], CancelCalls(calls=(TWO,))),
        ([TurnStarted(), HELLO, replied("", ONE), STOP, HELLO], CancelCalls(calls=(ONE,))),
        ([TurnStarted(), HELLO, replied("", ONE), STOP, HELLO, finished("1")], AskModel()),
        (
            [TurnStarted(), HELLO, replied("", ONE), STOP, finished("1")],
            FinishTurn(reply="Stopped.", outcome=TurnOutcome.STOPPED),
        ),
        (
            [TurnStarted(), HELLO, replied("", ONE), STOP, HELLO, finished("1"), replied("", TWO)],
            PerformCalls(calls=(TWO,), interrupted=frozenset()),
        ),
        ([TurnStarted(), HELLO, replied("", ONE), TurnOverdue()], CancelCalls(calls=(ONE,))),
        ([TurnStarted(), HELLO, TurnOverdue()], FinishTurn(reply=OVERDUE, outcome=TurnOutcome.STUCK)),
        ([TurnStarted(), HELLO, replied("hi"), TURNED_AWAY], FinishTurn(reply="hi", outcome=TurnOutcome.ANSWERED)),
        (
            [TurnStarted(), HELLO, ModelFailed(public="sorry")],
            FinishTurn(reply="sorry", outcome=TurnOutcome.MODEL_FAILED),
        ),
        (
            [TurnStarted(), HELLO, replied("", ONE), finished("1"), BudgetReached(public="used up")],
            FinishTurn(reply="used up", outcome=TurnOutcome.OVER_BUDGET),
        ),
        (
            [TurnStarted(), HELLO, WARNED, replied("", ONE), finished("1"), replied("hi")],
            FinishTurn(reply="hi\n\nnearly used", outcome=TurnOutcome.ANSWERED),
        ),
        ([TurnStarted(), WARNED, TurnFinished(outcome=TurnOutcome.ANSWERED), TurnStarted(), HELLO], AskModel()),
        ([TurnStarted(), HELLO, replied("hi"), TurnFinished(outcome=TurnOutcome.ANSWERED)], Rest()),
        ([TurnStarted(), HELLO, TurnFinished(outcome=TurnOutcome.ANSWERED), TurnStarted(), HELLO], AskModel()),
    ],
)
def test_next_step(events: list[Event], step: Step) -> None:
    assert next_step(events, STEP_LIMIT) == step


def test_an_empty_reply_becomes_words() -> None:
    step = next_step([TurnStarted(), HELLO, replied("")], STEP_LIMIT)
    assert isinstance(step, FinishTurn)
    assert step.reply


def turn_of(steps: int, *, same: bool) -> list[Event]:
    events: list[Event] = [TurnStarted(), HELLO]
    for number in range(steps):
        made = call(f"c{number}", '{"a": 1}' if same else f'{{"a": {number}}}')
        events += [replied("", made), ToolStarted(call_id=made.id), finished(made.id)]
    return events


def test_a_stuck_model_costs_the_step_limit_and_no_more() -> None:
    assert next_step(turn_of(STEP_LIMIT - 1, same=False), STEP_LIMIT) == AskModel()
    step = next_step(turn_of(STEP_LIMIT, same=False), STEP_LIMIT)
    assert isinstance(step, FinishTurn)
    assert step.outcome is TurnOutcome.STUCK
    assert str(STEP_LIMIT) in step.reply


def test_the_same_call_with_the_same_result_is_stopped() -> None:
    assert next_step(turn_of(SAME_CALL_LIMIT - 1, same=True), STEP_LIMIT) == AskModel()
    step = next_step(turn_of(SAME_CALL_LIMIT, same=True), STEP_LIMIT)
    assert isinstance(step, FinishTurn)
    assert step.outcome is TurnOutcome.STUCK


def test_history_pairs_every_call_with_its_result() -> None:
    events: list[Event] = [
        TurnStarted(),
        HELLO,
        replied("let me see", ONE, TWO),
        ToolStarted(call_id="1"),
        finished("1", "one"),
        replied("done"),
        ReplyQueued(text="done"),
        TurnFinished(outcome=TurnOutcome.ANSWERED),
    ]
    assert history(events) == (
        UserSaid(text="hello"),
        ModelSaid(text="let me see", calls=(ONE, TWO)),
        ToolSaid(call=ONE, content="one"),
        ToolSaid(call=TWO, content=OUTCOME_UNKNOWN),
        ModelSaid(text="done"),
    )


def test_history_tells_what_schedules_did_as_what_nobody_wrote() -> None:
    events: list[Event] = [TurnStarted(), HELLO, replied("", ONE), REMINDED, finished("1"), DUE]
    said = history(events)
    assert said[:3] == (UserSaid(text="hello"), ModelSaid(text="", calls=(ONE,)), ToolSaid(call=ONE, content="ok"))
    for told, id, text in zip(said[3:], ("8", "7"), ("drink", "water the plants"), strict=True):
        assert isinstance(told, UserSaid)
        note, kept = told.text.split("\n")
        assert note.startswith("[Nobody wrote.")
        assert f"Schedule {id}" in note
        assert kept == text


LOG = "\n".join(f"compiling module {n} of 20, with all warnings" for n in range(20))
RAW = replied(f"Built:\n{LOG}")
BUILT: list[Event] = [TurnStarted(), HELLO, replied("", ONE), finished("1", LOG)]
SENT_BACK = AnswerSentBack(request="again")


def mended(*events: Event, step_limit: int = STEP_LIMIT, limit_characters: int | None = None) -> Event:
    """Return the event that is to be appended because of an answer."""
    step = next_step(events, step_limit, limit_characters)
    assert isinstance(step, MendAnswer)
    return step.event


def test_an_answer_with_raw_output_goes_back_to_the_model_once_and_then_is_cut() -> None:
    asked = mended(*BUILT, RAW)
    assert isinstance(asked, AnswerSentBack)
    assert next_step([*BUILT, RAW, asked], STEP_LIMIT) == AskModel()
    fine = [*BUILT, RAW, asked, replied("It is built.")]
    assert next_step(fine, STEP_LIMIT) == FinishTurn(reply="It is built.", outcome=TurnOutcome.ANSWERED)
    cut = mended(*BUILT, RAW, asked, RAW)
    assert isinstance(cut, AnswerCut)
    assert next_step([*BUILT, RAW, asked, RAW, cut], STEP_LIMIT) == FinishTurn(
        reply=cut.text, outcome=TurnOutcome.ANSWERED
    )
    assert cut.text.startswith("Built:\n(20 lines of raw output left out here.")


def test_results_that_are_written_for_people_may_be_passed_on() -> None:
    link = ToolCall(id="1", name="ask_for_access", arguments="{}")
    events: list[Event] = [TurnStarted(), HELLO, replied("", link), finished("1", LOG), RAW]
    assert next_step(events, STEP_LIMIT) == FinishTurn(reply=RAW.text, outcome=TurnOutcome.ANSWERED)


def test_results_of_the_turn_before_and_what_the_person_asks_to_see_may_be_shown() -> None:
    before: list[Event] = [*BUILT, replied("It is built."), TurnFinished(outcome=TurnOutcome.ANSWERED)]
    again: list[Event] = [*before, TurnStarted(), HELLO, RAW]
    assert next_step(again, STEP_LIMIT) == FinishTurn(reply=RAW.text, outcome=TurnOutcome.ANSWERED)
    show: list[Event] = [*BUILT, MessageReceived(text="show me the log", provider_id="2"), RAW]
    assert next_step(show, STEP_LIMIT) == FinishTurn(reply=RAW.text, outcome=TurnOutcome.ANSWERED)
    offered: list[Event] = [
        TurnStarted(),
        HELLO,
        replied("Shall I show the log?"),
        TurnFinished(outcome=TurnOutcome.ANSWERED),
    ]
    yes: list[Event] = [*offered, TurnStarted(), MessageReceived(text="yes", provider_id="2"), *BUILT[2:], RAW]
    assert next_step(yes, STEP_LIMIT) == FinishTurn(reply=RAW.text, outcome=TurnOutcome.ANSWERED)


@pytest.mark.parametrize(
    "instead",
    [
        ModelFailed(public="no model"),
        BudgetReached(public="no money"),
        TurnOverdue(),
        replied(""),
        ModelReplied(text="I won't.", calls=(), usage=USAGE, refused=True),
    ],
)
def test_if_no_better_answer_comes_the_first_one_is_cut(instead: Event) -> None:
    cut = mended(*BUILT, RAW, SENT_BACK, instead)
    assert isinstance(cut, AnswerCut)
    assert cut.text.startswith("Built:\n(20 lines")
    events = [*BUILT, RAW, SENT_BACK, instead, cut]
    assert next_step(events, STEP_LIMIT) == FinishTurn(reply=cut.text, outcome=TurnOutcome.ANSWERED)


def test_what_a_person_says_after_an_answer_was_sent_back_is_answered_for_itself() -> None:
    said: list[Event] = [*BUILT, RAW, SENT_BACK, MessageReceived(text="and?", provider_id="9")]
    assert next_step(said, STEP_LIMIT) == AskModel()
    failed = [*said, ModelFailed(public="no model")]
    assert next_step(failed, STEP_LIMIT) == FinishTurn(reply="no model", outcome=TurnOutcome.MODEL_FAILED)
    assert isinstance(mended(*said, RAW), AnswerCut), "once a turn"
    assert next_step([*said, STOP], STEP_LIMIT) == FinishTurn(reply="Stopped.", outcome=TurnOutcome.STOPPED)


def test_calls_after_an_answer_was_sent_back_are_performed() -> None:
    events = [*BUILT, RAW, SENT_BACK, replied("", TWO)]
    assert next_step(events, STEP_LIMIT) == PerformCalls(calls=(TWO,), interrupted=frozenset())
    assert next_step([*events, finished("2")], STEP_LIMIT) == AskModel()


def test_a_turn_without_steps_left_has_its_answer_cut_at_once() -> None:
    assert isinstance(mended(*BUILT, RAW, step_limit=2), AnswerCut)


def test_a_channel_bounds_an_answer_and_what_is_added_to_it_is_no_part_of_that() -> None:
    long = replied("word " * 100)
    assert isinstance(next_step([TurnStarted(), HELLO, long], STEP_LIMIT), FinishTurn)
    asked = mended(TurnStarted(), HELLO, long, limit_characters=200)
    assert isinstance(asked, AnswerSentBack)
    events: list[Event] = [TurnStarted(), HELLO, WARNED, long, asked, long]
    cut = mended(*events, limit_characters=200)
    assert isinstance(cut, AnswerCut)
    assert next_step([*events, cut], STEP_LIMIT, 200) == FinishTurn(
        reply=f"{cut.text}\n\nnearly used", outcome=TurnOutcome.ANSWERED
    )


def test_the_model_is_told_why_it_is_asked_again_and_what_was_not_shown() -> None:
    cut = AnswerCut(text="Built.", left_out="The person was shown less.")
    told = history([TurnStarted(), HELLO, replied("Built: …"), SENT_BACK, replied("Built: …"), cut])
    assert told[-3:] == (
        UserSaid(text="[Nobody wrote. again]"),
        ModelSaid(text="Built: …"),
        UserSaid(text="[Nobody wrote. The person was shown less.]"),
    )
