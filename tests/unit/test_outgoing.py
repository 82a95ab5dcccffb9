"""Files that go out: which ones an answer links to, and what becomes of the links."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subclaw.core.attachment import safe_name
from subclaw.core.machine import HOME
from subclaw.core.manners import AnswerCut, AnswerSentBack
from subclaw.core.outgoing import (
    TITLE_LIMIT_CHARACTERS,
    FilesTaken,
    FileTaken,
    OutgoingFile,
    link_path,
    link_words,
    linked_files,
    mend_links,
    problem_of,
    sent_files,
    without_links,
)


def file(name: str, title: str = "") -> OutgoingFile:
    return OutgoingFile(id=f"id-of-{name}", name=name, title=title or name, media_type="text/plain", size_bytes=1)


def taken(*names: str) -> FilesTaken:
    return FilesTaken(taken=tuple(FileTaken(path=f"{HOME}/{name}", file=file(name)) for name in names))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Here: ![the chart](chart.png)", {"chart.png": "the chart"}),
        ("[report](~/report.pdf)", {"report.pdf": "report"}),
        ("[report](/home/agent/out/report.pdf)", {"out/report.pdf": "report"}),
        ("[report](./out/../report.pdf)", {"report.pdf": "report"}),
        ("[report](file:///home/agent/report.pdf)", {"report.pdf": "report"}),
        ("[a](My%20file.pdf) [b](<My other file.pdf>) [c](report (1).pdf)", {
            "My file.pdf": "a", "My other file.pdf": "b", "report (1).pdf": "c"
        }),
        ('[a](x.csv "the figures")', {"x.csv": "a"}),
        ("![](x.png)", {"x.png": "x.png"}),
        ("[a](x.csv), and again [b](x.csv)", {"x.csv": "a"}),
    ],
)  # fmt: skip
def test_files_are_linked_to_by_paths(text: str, wanted: dict[str, str]) -> None:
    assert linked_files(text) == {f"{HOME}/{path}": title for path, title in wanted.items()}


@pytest.mark.parametrize(
    "text",
    [
        "It is live: https://calm-otter.example/ and [here](https://calm-otter.example/).",
        "[write](mailto:ann@example.org) or [call](tel:+1555) or [see](//example.org/x) or [www](www.example.org)",
        "[below](#costs) [search](?q=1) []()",
        "Use `[name](file.pdf)` for that.",
        "```\n[name](file.pdf)\n```",
        "~~~md\n![a](b.png)\n~~~",
        "An array a[0] (x) has no link[ (y.png)",
    ],
)
def test_other_links_and_code_are_none(text: str) -> None:
    assert linked_files(text) == {}


def test_only_files_of_the_home_folder_can_be_sent() -> None:
    (path,) = linked_files("[x](../../etc/shadow)")
    assert path == "/etc/shadow"
    assert "/home/agent" in problem_of(path)
    assert problem_of("/home/agent2/x")
    assert not problem_of(f"{HOME}/x")


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("Done.\n\n![chart](chart.png)\n\nAnything else?", "Done.\n\nAnything else?"),
        ("See [the report](report.pdf), page 2.", "See the report, page 2."),
        ("- [a](a.pdf)\n- [b](b.pdf)", ""),
        ("![chart](chart.png)", ""),
        ("**[report](report.pdf)**!", ""),
        ("Here:\n![a](a.png)", "Here:"),
        ("Here:\n- [a](a.pdf)\n- [b](b.pdf), the figures\n\nMore?", "Here:\n- b, the figures\n\nMore?"),
    ],
)
def test_what_is_left_of_a_text_beside_its_files(text: str, sent: str) -> None:
    assert without_links(text) == sent


def test_an_answer_with_all_its_files_is_fit() -> None:
    answer = "![b](b.png) and [a](a.pdf)"
    given = taken("a.pdf", "b.png", "other.txt")
    assert mend_links(answer, given, may_send_back=True) is None
    assert [one.name for one in sent_files(answer, given)] == ["b.png", "a.pdf"]


def test_the_model_hears_of_a_file_that_cannot_be_sent_and_then_the_person_does() -> None:
    answer = "Here is [the report](report.pdf) and [b](b.png)."
    problems = FilesTaken(
        taken=(*taken("b.png").taken, FileTaken(path=f"{HOME}/report.pdf", problem="there is no such file"))
    )
    sent_back = mend_links(answer, problems, may_send_back=True)
    assert isinstance(sent_back, AnswerSentBack)
    assert f"{HOME}/report.pdf: there is no such file" in sent_back.request
    cut = mend_links(answer, problems, may_send_back=False)
    assert isinstance(cut, AnswerCut)
    assert cut.text == "Here is the report (which I could not send) and [b](b.png)."
    assert "no such file" in cut.left_out
    assert mend_links(cut.text, problems, may_send_back=False) is None


def test_where_files_cannot_be_sent_there_are_links_to_them() -> None:
    report = file("_Q3_ ü.pdf", title="the report")
    assert link_path(report) == "/files/id-of-_Q3_ ü.pdf/Q3--%C3%BC.pdf"
    assert link_words([report], "https://agents.example") == f"the report: https://agents.example{link_path(report)}"
    assert link_words([report], None) == "(_Q3_ ü.pdf cannot be sent here.)"
    assert link_words([], "https://agents.example") == ""


@given(st.text(alphabet="![](<>) \n`~a./\"'%2\\:", max_size=60))
def test_whatever_the_text_links_are_found_or_not(text: str) -> None:
    wanted = linked_files(text)
    assert all(path.startswith("/") and "/../" not in path for path in wanted)
    assert all(0 < len(title) <= TITLE_LIMIT_CHARACTERS or path == "/" for path, title in wanted.items())
    assert "\0" not in without_links(text)
    assert all(safe_name(path.rpartition("/")[2]) for path in wanted)
