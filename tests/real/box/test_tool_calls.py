"""What a model may do wrong, or a machine do to it: it is told in a few true words, and the turn goes on."""

import re
from collections.abc import Callable
from uuid import uuid4

import pytest
from tests.real.box.conftest import ScriptedBox
from tests.real.box.running import RunningBox, Somebody, ask

from subclaw.core.tool import RESULT_LIMIT_CHARACTERS
from subclaw.testing.openai import Answer, Calls, Failure, Words, call

DONE = Words(text="I have seen what came of it.")
GROWTH_LIMIT_BYTES = 48 * 1024 * 1024
"""More than a warm process grows by itself, and a twentieth of what is thrown at it."""


Told = Callable[..., list[str]]


@pytest.fixture(scope="module")
def told(scripted_box: ScriptedBox) -> Told:
    """Have one person's model make calls, and return what it was told of them."""
    somebody = Somebody()

    def make(*answers: Answer) -> list[str]:
        said = f"go on {uuid4()}"
        play = scripted_box.model.play(said, *answers, DONE)
        assert somebody.ask(scripted_box.box, said) == [DONE.text]
        return play.told()

    return make


def memory_bytes(box: RunningBox) -> dict[str, int]:
    return {name: child.memory_info().rss for name, child in box.children().items()}


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (
            ("shell_exec", '{"command": 5}'),
            "shell_exec do not fit: command: 5 is not of type 'string'",
        ),
        (("shell_exec", "{}"), "The command is missing."),
        (("shell_exec", '{"command": "id", "user": "me"}'), "Additional properties are not allowed"),
        (("shell_exec", '{"command": "id", "timeout_s": 1e9}'), "timeout_s: 1000000000.0 is greater than the maximum"),
        (("shell_exec", '{"command": "id", "timeout_s": NaN}'), "may take more than 0"),
        (("shell_exec", r'{"command": "id\u0000"}'), "The command is empty or has a NUL in it."),
        (("shell_exec", r'{"command": "id \ud83d"}'), "The command has characters that cannot be."),
        (("shell_exec", "{command: id"), "The arguments of shell_exec were not JSON."),
        (("shell_exec", '["id"]'), "do not fit: itself: ['id'] is not of type 'object'"),
        (("shell_exec", "[" * 20_000), "The arguments of shell_exec were not JSON."),
        (("shell_exec", ""), "The command is missing."),
        (("rm_rf", "{}"), "There is no tool 'rm_rf'. There are: shell_exec, read_file, write_file, search_files"),
        (("publish_site", '{"port": 0}'), "port: 0 is less than the minimum of 1"),
        (("search_files", '{"pattern": "("}'), "That is not a regular expression"),
    ],
    ids=range(14),
)
def test_a_call_that_cannot_be_is_told_so_and_the_turn_goes_on(told: Told, made: tuple[str, str], words: str) -> None:
    (content,) = told(Calls(made=(made,)))
    assert words in content
    assert len(content) < 600


def test_a_call_in_vain_does_not_spoil_those_beside_it(told: Told) -> None:
    made = (("rm_rf", "{}"), ("shell_exec", '{"command": "echo here"}'), ("shell_exec", "nonsense"))
    nothing, here, nonsense = told(Calls(made=made))
    assert "There is no tool" in nothing
    assert here == "here"
    assert "not JSON" in nonsense


def test_files_that_are_none_and_paths_that_lead_outside(scripted_box: ScriptedBox, told: Told) -> None:
    key = scripted_box.box.home / "egress"
    assert any(key.iterdir())
    cases = [
        (
            call("read_file", path=f"{key}/{next(key.iterdir()).name}"),
            "There is no such file or folder in the machine.",
        ),
        (call("read_file", path="../../../../../../no/such"), "There is no such file or folder in the machine."),
        (call("read_file", path="/etc"), "That is a folder, not a file."),
        (call("read_file", path="/dev/zero"), "That is not a regular file, but a device, a pipe or a socket."),
        (call("write_file", path="/etc", content="x"), "That is a folder, not a file."),
        (call("write_file", path="/dev/null", content="x"), "That is not a regular file"),
        (call("read_file", path="/usr/bin/python3"), "That is a binary file of"),
        (call("read_file", path="/usr/bin/python3", offset_bytes=2**60), "[the file is empty]"),
        (call("publish_site", folder="/dev/zero"), "That is not a folder."),
        (call("publish_site", folder="/etc/apt"), "I found no index.html in the folder"),
        (call("search_files", pattern="root", path="/etc/hostname/x"), "There is no such file or folder"),
    ]
    contents = told(*(made for made, _ in cases))
    assert len(contents) == len(cases)
    for content, (made, words) in zip(contents, cases, strict=True):
        assert words in content, made
        assert len(content) < 600


def test_a_command_that_never_ends_is_ended(told: Told) -> None:
    never = call("shell_exec", command="echo begun; sleep 1000", timeout_s=1)
    after = call("shell_exec", command="pgrep -c sleep")
    ended, left = told(never, after)
    assert ended == "begun\n[ended after 1 s, because it had not finished]"
    assert left == "0\n[exit status 1]"


def test_a_gigabyte_of_output_costs_no_memory(scripted_box: ScriptedBox, told: Told) -> None:
    told(call("shell_exec", command="true"))
    before = memory_bytes(scripted_box.box)
    flood = call("shell_exec", command="head -c 1000000000 /dev/zero", timeout_s=300)
    (content,) = told(flood)
    assert content.startswith("\ufffd" * 1000)
    assert re.search(r"\[999,98\d,\d{3} of 1,000,000,000 bytes of output were left out in the middle\]$", content)
    assert len(content) <= RESULT_LIMIT_CHARACTERS + 200
    after = memory_bytes(scripted_box.box)
    grown = {name: after[name] - before[name] for name in ("worker", "host", "egress", "web")}
    assert max(grown.values()) < GROWTH_LIMIT_BYTES, grown


def test_a_huge_file_is_read_in_parts(told: Told) -> None:
    make = call("shell_exec", command="truncate -s 6G big && printf '%02000000d' 7 > long")
    made, zeros, part = told(make, call("read_file", path="big"), call("read_file", path="long"))
    assert made == "[done, no output]"
    assert zeros.startswith("That is a binary file of 6,442,450,944 bytes")
    assert part.endswith("[1,985,000 bytes more; go on with offset_bytes 15000]")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (500, "I can't reach my model right now. Please write again in a minute."),
        (401, "My model can't be used at the moment, and whoever runs me has to look at it. Please try again later."),
        (400, "My model can't be used at the moment, and whoever runs me has to look at it. Please try again later."),
    ],
)
def test_a_model_that_fails_is_told_to_the_person_and_the_next_message_is_answered(
    scripted_box: ScriptedBox, status: int, words: str
) -> None:
    said = f"go on {uuid4()}"
    scripted_box.model.play(said, Failure(status=status))
    assert ask(scripted_box.box, said, "and now?") == [words, "All is well."]


def test_a_model_that_repeats_itself_is_stopped(scripted_box: ScriptedBox) -> None:
    said = f"go on {uuid4()}"
    play = scripted_box.model.play(said, Calls(made=(("no_such_tool", "{}"),)))
    (reply,) = ask(scripted_box.box, said)
    assert "I kept doing the same thing" in reply
    assert len(play.prompts) == 3


def test_a_nul_reaches_neither_the_database_nor_the_provider(scripted_box: ScriptedBox, told: Told) -> None:
    (content,) = told(call("shell_exec", command=r"printf 'a\000b\377z'"))
    assert content == "a\ufffdb\ufffdz"
    said = f"go on {uuid4()}"
    scripted_box.model.play(said, Words(text="half\0way"))
    assert ask(scripted_box.box, said) == ["half\ufffdway"]
