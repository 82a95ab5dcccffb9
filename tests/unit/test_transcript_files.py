"""The next step of a turn whose answer links to files."""

from subclaw.core.event import (
    BudgetWarned,
    Event,
    MessageReceived,
    ModelFailed,
    ModelReplied,
    TurnOutcome,
    TurnStarted,
)
from subclaw.core.history import history
from subclaw.core.machine import HOME
from subclaw.core.manners import AnswerCut, AnswerSentBack
from subclaw.core.model import ModelSaid, Usage, UserSaid
from subclaw.core.outgoing import FilesTaken, FileTaken, OutgoingFile
from subclaw.core.transcript import AskModel, FinishTurn, MendAnswer, TakeFiles, next_step

REPORT = f"{HOME}/report.pdf"
FILE = OutgoingFile(id="r4nd0m", name="report.pdf", title="report", media_type="application/pdf", size_bytes=9)
TAKEN = FilesTaken(taken=(FileTaken(path=REPORT, file=FILE),))
MISSING = FilesTaken(taken=(FileTaken(path=REPORT, problem="there is no such file"),))
BEGUN = (TurnStarted(), MessageReceived(text="the report, please", provider_id="1"))
STEP_LIMIT = 25


def replied(text: str) -> ModelReplied:
    return ModelReplied(text=text, calls=(), usage=Usage(model="m", input_tokens=1, output_tokens=1))


def step_after(*events: Event) -> object:
    return next_step([*BEGUN, *events], STEP_LIMIT)


def test_files_are_taken_before_the_turn_ends_and_go_out_with_its_reply() -> None:
    answer = replied("Here is the [report](report.pdf).")
    assert step_after(answer) == TakeFiles(wanted={REPORT: "report"})
    assert step_after(answer, TAKEN) == FinishTurn(
        reply="Here is the report.", outcome=TurnOutcome.ANSWERED, files=(FILE,)
    )


def test_a_reply_may_be_nothing_but_files() -> None:
    assert step_after(replied("![report](report.pdf)"), TAKEN) == FinishTurn(
        reply="", outcome=TurnOutcome.ANSWERED, files=(FILE,)
    )
    warned = BudgetWarned(public="nearly used", until="infinity")
    assert step_after(warned, replied("![report](report.pdf)"), TAKEN) == FinishTurn(
        reply="nearly used", outcome=TurnOutcome.ANSWERED, files=(FILE,)
    )


def test_the_model_hears_once_of_what_cannot_be_sent_and_its_next_files_are_taken_anew() -> None:
    answer = replied("[report](report.pdf)")
    step = step_after(answer, MISSING)
    assert isinstance(step, MendAnswer)
    assert isinstance(step.event, AnswerSentBack)
    sent_back: list[Event] = [answer, MISSING, step.event]
    assert step_after(*sent_back) == AskModel()
    assert step_after(*sent_back, answer) == TakeFiles(wanted={REPORT: "report"})
    assert isinstance(step_after(*sent_back, answer, TAKEN), FinishTurn)


def test_what_still_cannot_be_sent_is_left_out_and_the_person_is_told() -> None:
    answer = replied("Here is the [report](report.pdf).")
    sent_back = AnswerSentBack(request="without it")
    events: list[Event] = [answer, MISSING, sent_back, answer, MISSING]
    step = step_after(*events)
    assert isinstance(step, MendAnswer)
    assert isinstance(step.event, AnswerCut)
    assert step_after(*events, step.event) == FinishTurn(
        reply="Here is the report (which I could not send).", outcome=TurnOutcome.ANSWERED
    )
    told = history([*BEGUN, *events, step.event])
    assert told[-1] == UserSaid(text=f"[Nobody wrote. {step.event.left_out}]")
    assert told[-2] == ModelSaid(text="Here is the [report](report.pdf).")


def test_if_no_better_answer_comes_the_first_one_is_cut() -> None:
    answer = replied("Here is the [report](report.pdf).")
    step = step_after(answer, MISSING, AnswerSentBack(request="without it"), ModelFailed(public="sorry"))
    assert isinstance(step, MendAnswer)
    assert isinstance(step.event, AnswerCut)


def test_an_answer_that_was_cut_still_sends_its_files() -> None:
    cut = AnswerCut(text="See [report](report.pdf).\n\n(cut)", left_out="only until")
    assert step_after(replied("long"), cut) == TakeFiles(wanted={REPORT: "report"})
    assert step_after(replied("long"), cut, TAKEN) == FinishTurn(
        reply="See report.\n\n(cut)", outcome=TurnOutcome.ANSWERED, files=(FILE,)
    )
