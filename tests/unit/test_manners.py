"""What is raw output in an answer, when a person wants to see it, and what becomes of an answer that has some."""

import pytest

from subclaw.core.manners import CUT_OFF, AnswerCut, AnswerSentBack, Occasion, mend_answer, wants_to_see
from subclaw.core.raw_output import LINES_CHARACTERS, RUN_CHARACTERS, Piece, cut_out, find_raw_output

LOG = "\n".join(f"[{n}/9] compiling module_{n}.c into module_{n}.o with -O2" for n in range(9))
LONG_LINE = "{" + ", ".join(f'"key_{n}": {n}' for n in range(60)) + "}"

PYTHON = """\
Traceback (most recent call last):
  File "/home/agent/site.py", line 12, in <module>
    main()
    ~~~~^^
  File "/home/agent/site.py", line 9, in main
    raise ValueError("no prices")
ValueError: no prices"""

NODE = """\
TypeError: Cannot read properties of undefined (reading 'price')
    at total (/home/agent/shop.js:14:22)
    at async Promise.all (index 0)
    at Object.<anonymous> (/home/agent/shop.js:20:1)
    at node:internal/main/run_main_module:23:47"""

GO = """\
panic: runtime error: index out of range [3] with length 3

goroutine 1 [running]:
main.total(...)
\t/home/agent/shop.go:9 +0x1d
main.main()
\t/home/agent/shop.go:15 +0x2a"""

JAVA = """\
Exception in thread "main" java.lang.IllegalStateException: no prices
\tat com.example.Shop.total(Shop.java:14)
\tat java.base/java.lang.reflect.Method.invoke(Method.java:580)
\tat com.example.Shop.main(Shop.java:20)
Caused by: java.lang.NullPointerException
\tat com.example.Shop.price(Shop.java:31)
\t... 2 more"""

TRACES = {"python": PYTHON, "node": NODE, "go": GO, "java": JAVA}

HARMLESS = {
    "times": "We meet\nat 10:30\nat 11:45\nat 12:15:30",
    "prose": 'I looked at File "a" and found an Error: the price is missing.\nCaused by: a typo.\nI\'ll mend it.',
    "places": "Dinner\nat Mario's (good pizza)\nat the harbour (quiet)",
    "one frame": "It stops in main.go:12",
    "error alone": "ValueError: no prices",
}


def found(text: str, *results: str, said: str = "") -> list[str]:
    return [text[piece.start : piece.end] for piece in find_raw_output(text, results, said)]


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES.keys())
def test_a_stack_trace_is_found_whole_and_nothing_else(trace: str) -> None:
    assert found(trace) == [trace]
    assert found(f"It failed:\n\n{trace}\n\nI try again now.") == [trace]
    assert found(f"Sorry.\n```\n{trace}\n```\nI try again.") == [f"```\n{trace}\n```"]
    assert found(f"You wrote:\n{trace}\nLine 9 does it.", said=f"what is this?\n{trace}") == []


@pytest.mark.parametrize("text", HARMLESS.values(), ids=HARMLESS.keys())
def test_words_that_look_a_little_like_one_are_none(text: str) -> None:
    assert found(text, "ok") == []


def test_two_traces_apart_are_two_pieces() -> None:
    text = f"First:\n{PYTHON}\nThat was one.\nThen I did\nsomething else\nand something more,\nand got:\n{NODE}\nSo."
    assert found(text) == [PYTHON, NODE]


def test_lines_of_a_result_are_found_however_they_are_indented() -> None:
    indented = LOG.replace("\n", "\n\n    ")
    assert found(f"Done.\n{indented}\nAll fine.", "before", f"start\r\n{LOG}\r\nend") == [indented]


def test_two_lines_or_short_ones_are_an_answer() -> None:
    two = "\n".join(LOG.splitlines()[:2])
    assert found(f"It says:\n{two}\nFine.", LOG) == []
    names = "milk\nbread\neggs\nbutter"
    assert len(names) < LINES_CHARACTERS
    assert found(f"You need:\n{names}", names) == []


def test_lines_in_another_order_are_ones_own_words() -> None:
    assert found("\n".join(reversed(LOG.splitlines())), LOG) == []


def test_a_long_piece_of_one_line_is_found_whole() -> None:
    assert found(f"The answer was {LONG_LINE}. Good.", f"200 OK {LONG_LINE}") == [LONG_LINE]
    assert found(f"The answer was {LONG_LINE[: RUN_CHARACTERS // 2]}", LONG_LINE) == []


def test_what_the_person_said_is_not_raw_output() -> None:
    assert found(f"You wrote {LONG_LINE}", LONG_LINE, said=f"put {LONG_LINE} there") == []
    assert found(f"You wrote\n{LOG}", LOG, said=LOG) == []


def test_what_is_cut_out_is_counted() -> None:
    text = f"Built.\n```\n{LOG}\n```\nIt is live."
    pieces = find_raw_output(text, [LOG], "")
    assert cut_out(text, pieces, "({lines} left out)") == "Built.\n(9 lines left out)\nIt is live."
    assert cut_out("a b", [Piece(start=2, end=3)], "({lines})") == "a (1 line)"


@pytest.mark.parametrize(
    ("said", "before", "wants"),
    [
        ("make me a site", "", False),
        ("is it done?", "", False),
        ("add a log in page", "", False),
        ("show me", "", True),
        ("what went wrong? paste the log", "", True),
        ("What's in my notes?", "", True),
        ("why does this fail?\n```\nx\n```", "", True),
        ("zeig mir die Ausgabe", "", True),
        ("покажи", "", True),
        ("给我看日志", "", True),
        ("yes please", "Shall I show you the log?", True),
        ("yes please", "Shall I build it?", False),
        ("yes, and make it blue, and put a picture of my cat on it", "Shall I show you the log?", False),
        ("", "Shall I show you the log?", False),
    ],
)
def test_a_person_who_may_want_to_see_output_is_known_by_their_words(said: str, before: str, wants: bool) -> None:
    assert wants_to_see(said, before) is wants


def occasion(*results: str, said: str = "go", limit_characters: int | None = None) -> Occasion:
    return Occasion(results=results, said=said, before="", limit_characters=limit_characters)


def test_an_answer_with_manners_is_left_as_it_is() -> None:
    for may_send_back in (True, False):
        assert mend_answer("It is live.", occasion(LOG, limit_characters=100), may_send_back=may_send_back) is None
        assert mend_answer(LOG, occasion(LOG, said="show me the log"), may_send_back=may_send_back) is None


def test_raw_output_is_sent_back_and_then_cut() -> None:
    answer = f"Built.\n{LOG}\nIt is live."
    sent_back = mend_answer(answer, occasion(LOG), may_send_back=True)
    assert isinstance(sent_back, AnswerSentBack)
    assert "raw output (9 lines)" in sent_back.request
    cut = mend_answer(answer, occasion(LOG), may_send_back=False)
    assert isinstance(cut, AnswerCut)
    assert (
        cut.text == 'Built.\n(9 lines of raw output left out here. Say "show me" if you want to see it.)\nIt is live.'
    )
    assert wants_to_see("show me", cut.text), "what the person is told to say is understood"
    assert "9 lines of raw output" in cut.left_out


def test_an_answer_that_is_too_long_is_sent_back_and_then_cut_where_a_sentence_ends() -> None:
    answer = "A sentence of some words. " * 50
    sent_back = mend_answer(answer, occasion(limit_characters=500), may_send_back=True)
    assert isinstance(sent_back, AnswerSentBack)
    assert "1,300 characters, and this channel takes 500" in sent_back.request
    cut = mend_answer(answer, occasion(limit_characters=500), may_send_back=False)
    assert isinstance(cut, AnswerCut)
    assert cut.text.endswith(f"some words.\n\n{CUT_OFF}")
    assert 250 < len(cut.text) <= 500
    assert cut.left_out.endswith("of some words.”.")


def test_one_that_is_both_is_sent_back_once_for_both_and_cut_once() -> None:
    answer = f"{LOG}\n" + "And so on. " * 100
    sent_back = mend_answer(answer, occasion(LOG, limit_characters=500), may_send_back=True)
    assert isinstance(sent_back, AnswerSentBack)
    assert "raw output" in sent_back.request
    assert "characters" in sent_back.request
    cut = mend_answer(answer, occasion(LOG, limit_characters=500), may_send_back=False)
    assert isinstance(cut, AnswerCut)
    assert "module_1" not in cut.text
    assert len(cut.text) <= 500
