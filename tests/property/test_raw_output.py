"""Raw output in an answer is found whatever it is and whatever is around it, and nothing else is taken for it."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from subclaw.core.event import Event, MessageReceived, ModelReplied, ToolFinished, TurnStarted
from subclaw.core.manners import AnswerCut, AnswerSentBack, Occasion, mend_answer
from subclaw.core.model import Usage
from subclaw.core.raw_output import LINES, LINES_CHARACTERS, RUN_CHARACTERS, cut_out, find_raw_output
from subclaw.core.tool import ToolCall
from subclaw.core.transcript import AskModel, FinishTurn, MendAnswer, PerformCalls, next_step

TEXTS = st.text(max_size=400)
ANSWERS = TEXTS | st.lists(st.text(alphabet="ab {}", max_size=60), max_size=12).map("\n".join)
RESULTS = st.lists(ANSWERS, max_size=4)
PROSE = st.text(alphabet="abcdefghij ,.\n", max_size=200)
LINE = st.text(alphabet="klmnop01 :/[]", min_size=1, max_size=80).filter(str.strip)
RAW_LINES = st.lists(LINE, min_size=LINES, max_size=12).map(
    lambda lines: [*lines[:-1], lines[-1].strip().ljust(LINES_CHARACTERS, "=")]
)
RUN = st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=40).filter(str.strip)
RUNS = st.lists(RUN, min_size=1, max_size=12).map(
    lambda parts: "".join(parts) * (RUN_CHARACTERS // len("".join(parts)) + 1)
)
USAGE = Usage(model="m", input_tokens=1, output_tokens=1)


@given(answer=ANSWERS, results=RESULTS, said=TEXTS)
@settings(deadline=None)
def test_pieces_are_in_order_apart_and_in_the_text(answer: str, results: list[str], said: str) -> None:
    pieces = find_raw_output(answer, results, said)
    ends = [-1, *(piece.end for piece in pieces)]
    assert all(end < piece.start < piece.end <= len(answer) for end, piece in zip(ends, pieces, strict=False))


@given(answer=ANSWERS, said=TEXTS)
@settings(deadline=None)
def test_without_results_and_traces_there_is_none(answer: str, said: str) -> None:
    assert find_raw_output(answer, [], said) == ()


@given(answer=ANSWERS, results=RESULTS)
@settings(deadline=None)
def test_what_is_found_stands_in_a_result(answer: str, results: list[str]) -> None:
    known = {line.strip() for result in results for line in result.split("\n")}
    for piece in find_raw_output(answer, results, ""):
        text = answer[piece.start : piece.end]
        in_one = any(text in result for result in results)
        assert in_one or known.issuperset(line.strip() for line in text.split("\n") if line.strip())


@given(before=PROSE, lines=RAW_LINES, after=PROSE, around=RESULTS, indent=st.sampled_from(["", "  ", "\t"]))
@settings(deadline=None)
def test_lines_of_a_result_are_found_among_any_words(
    before: str, lines: list[str], after: str, around: list[str], indent: str
) -> None:
    raw = "\n".join(indent + line for line in lines)
    answer = f"{before}\n{raw}\n{after}"
    result = "\n".join(["start", *lines, "end"])
    left = cut_out(answer, find_raw_output(answer, [*around, result], ""), "(cut)")
    assert raw not in left
    assert before.strip() in left or not before.strip()
    assert after.strip() in left or not after.strip()


@given(before=PROSE, run=RUNS, after=PROSE, head=TEXTS, tail=TEXTS)
@settings(deadline=None)
def test_a_long_run_of_a_result_is_found_wherever_it_stands(
    before: str, run: str, after: str, head: str, tail: str
) -> None:
    answer = f"{before}{run}{after}"
    pieces = find_raw_output(answer, [f"{head}{run}{tail}"], "")
    assert any(piece.start < len(before) + len(run) and piece.end > len(before) for piece in pieces)
    assert run not in cut_out(answer, pieces, "(cut)")


@given(answers=st.lists(ANSWERS, min_size=3, max_size=6), results=RESULTS, limit=st.none() | st.integers(90, 400))
@settings(deadline=None)
def test_whatever_a_model_answers_it_is_asked_again_once_at_most(
    answers: list[str], results: list[str], limit: int | None
) -> None:
    events = turn_with(results)
    left = iter(answers)
    sent_back = 0
    for _ in range(len(answers) + len(results) + 3):
        match next_step(events, 25, limit):
            case AskModel():
                events.append(ModelReplied(text=next(left), calls=(), usage=USAGE))
            case MendAnswer(event=event):
                sent_back += isinstance(event, AnswerSentBack)
                events.append(event)
            case FinishTurn(reply=reply):
                break
            case PerformCalls():
                raise AssertionError("all calls are done")
    else:
        raise AssertionError("the turn does not end")
    assert sent_back <= 1
    assert reply
    assert limit is None or len(reply) <= limit


@given(answer=ANSWERS, results=RESULTS, limit=st.integers(90, 400))
@settings(deadline=None)
def test_what_is_shown_in_the_end_needs_no_cutting(answer: str, results: list[str], limit: int) -> None:
    occasion = Occasion(results=results, said="go", before="", limit_characters=limit)
    mended = mend_answer(answer, occasion, may_send_back=False)
    if isinstance(mended, AnswerCut):
        assert len(mended.text) <= limit
        assert mended.text.strip()
    else:
        assert mended is None
        assert len(answer) <= limit


def turn_with(results: Sequence[str]) -> list[Event]:
    """Return a turn in which tools came to these results."""
    calls = tuple(ToolCall(id=str(n), name="shell_exec", arguments=str(n)) for n in range(len(results)))
    made: list[Event] = [ModelReplied(text="", calls=calls, usage=USAGE)] if calls else []
    done = [ToolFinished(call_id=str(n), content=result, is_error=False) for n, result in enumerate(results)]
    return [TurnStarted(), MessageReceived(text="go", provider_id="1"), *made, *done]
