"""What a house makes of its agent: whatever is in its files, the last good version serves and the agent is told."""

import json
from datetime import UTC, datetime

import pytest

from subclaw.core.harness import MEMORY_LIMIT_CHARACTERS, Harness, newer_defaults, read_harness
from subclaw.core.house import MEMORY, SYSTEM, TOOLS, StoredFile, fingerprint
from subclaw.harness.defaults import default_files
from subclaw.harness.system import system_text

DEFAULTS = {SYSTEM: b"You are {name}.", "skills/site.md": b"# Site\n\nWhen a site is wanted."}
TOOL = {"name": "greet", "description": "Greet.", "parameters": {"type": "object"}, "command": "echo hello"}
NOW = datetime(2026, 11, 21, 23, 30, tzinfo=UTC)


def read(*files: StoredFile) -> Harness:
    return read_harness(files, DEFAULTS, ["shell_exec"])


def file(path: str, content: str | bytes | None, **more: str | bytes) -> StoredFile:
    encoded = content.encode() if isinstance(content, str) else content
    return StoredFile(path=path, content=encoded, **more)  # type: ignore[arg-type]


def test_a_house_that_nobody_touched_is_as_it_comes() -> None:
    harness = read()
    assert harness.text == "You are {name}."
    assert [skill.name for skill in harness.skills] == ["Site"]
    assert (harness.memory, harness.tools, harness.problems) == ("", (), ())


def test_a_tenants_files_go_before_the_defaults() -> None:
    tools, memory = file(TOOLS, json.dumps([TOOL])), file(MEMORY, "likes tea\n")
    harness = read(file(SYSTEM, "Be a pirate."), tools, memory, file("skills/site.md", None))
    assert (harness.text, harness.memory, harness.skills) == ("Be a pirate.", "likes tea", ())
    assert [tool.definition.name for tool in harness.tools] == ["greet"]
    assert harness.good == {SYSTEM, MEMORY, TOOLS}


def test_a_system_text_that_was_removed_comes_back() -> None:
    assert read(file(SYSTEM, None)).text == "You are {name}."


@pytest.mark.parametrize(
    ("path", "broken", "problem"),
    [
        (SYSTEM, b"\xff\xfe", "system.md is not UTF-8, from byte 0 on."),
        (SYSTEM, b" \n", "system.md is empty."),
        (SYSTEM, b"x" * 20_001, "system.md has 20,001 characters; at most 20,000 are read."),
        (TOOLS, b"[{", "tools.json: it is not JSON"),
        (MEMORY, b"\xff", "memory.md is not UTF-8, from byte 0 on."),
        ("skills/tea.md", b"---\nname: [", "skills/tea.md: "),
    ],
)
def test_a_file_that_is_broken_is_what_it_was_before(path: str, broken: bytes, problem: str) -> None:
    good = {
        SYSTEM: b"Be a pirate.",
        TOOLS: json.dumps([TOOL]).encode(),
        MEMORY: b"likes tea",
        "skills/tea.md": b"# Tea\n\nWhen tea is wanted.",
    }[path]
    before, after = read(file(path, good)), read(file(path, broken, served=good))
    assert before.good == {path, SYSTEM, "skills/site.md"}
    assert path not in after.good
    assert (after.text, after.memory, after.skills, len(after.tools)) == (
        before.text,
        before.memory,
        before.skills,
        len(before.tools),
    )
    (told,) = after.problems
    assert told.startswith(problem)
    assert read(file(path, broken)).text == "You are {name}.", "without a good version the default serves"


def test_a_file_that_the_machine_could_not_tell_is_what_it_was_before() -> None:
    harness = read(file(SYSTEM, None, problem="it has 10,000,000 bytes", served=b"Be a pirate."))
    assert harness.text == "Be a pirate."
    assert harness.problems == ("system.md: it has 10,000,000 bytes",)


def test_a_tool_that_shadows_a_built_in_one_is_left_out_and_the_others_work() -> None:
    harness = read(file(TOOLS, json.dumps([{**TOOL, "name": "Shell-Exec"}, TOOL])))
    assert [tool.definition.name for tool in harness.tools] == ["greet"]
    assert "shell_exec" in harness.problems[0]
    assert TOOLS not in harness.good


def test_what_is_wrong_with_services_is_told() -> None:
    declared = file("services.json", '[{"name": "web", "command": "x"}, {"name": "bad"}]')
    broken = file("services-broken.txt", "web: ended 3 times in a row; its log is here.\n")
    told = read(declared, broken).problems
    assert told[0].startswith("services.json: service 2 is left out: its command must be")
    assert told[1] == "service web: ended 3 times in a row; its log is here."
    assert read(file("services.json", "[{")).problems[0].startswith("services.json: it is not JSON")
    assert read(file("services.json", "[]")).problems == ()


def test_a_long_memory_is_told_from_its_beginning() -> None:
    harness = read(file(MEMORY, "a" * MEMORY_LIMIT_CHARACTERS + "b" * 1_234))
    assert "b" not in harness.memory.split("\n")[0]
    assert harness.memory.endswith("[1,234 characters more are in the file: shorten it]")


def test_newer_defaults_are_shown_beside_what_the_tenant_made_of_older_ones() -> None:
    own, old, newest = file(SYSTEM, "Be a pirate."), fingerprint(b"older"), fingerprint(DEFAULTS[SYSTEM])
    assert [default.path for default in newer_defaults([own], DEFAULTS, {SYSTEM: old}, {})] == [SYSTEM]
    assert not newer_defaults([own], DEFAULTS, {SYSTEM: newest}, {})
    assert not newer_defaults([own], DEFAULTS, {SYSTEM: old}, {SYSTEM: newest})
    assert not newer_defaults([file(MEMORY, "tea"), file("skills/site.md", None)], DEFAULTS, {}, {})


def test_what_an_agent_is_told_of_itself() -> None:
    harness = read(file(MEMORY, "likes tea"), file(TOOLS, "{"))
    text = system_text(harness, name="otter", url="http://otter.localhost", now=NOW, newer=[SYSTEM])
    assert text.split("\n\n") == [
        "You are otter.",
        "Skills; read the file before you do what it is for:\n"
        "- Site: When a site is wanted. (/etc/subclaw/skills/site.md)",
        "/etc/subclaw/memory.md, which you keep:\nlikes tea",
        "These files in /etc/subclaw cannot be used, so what they were before serves; mend them:\n"
        f"- {harness.problems[0]}",
        "There is a newer default of system.md: reload_harness shows the difference to yours.",
        "Today is Saturday 2026-11-21 in UTC; where the person is you don't know yet.",
    ]


def test_the_day_is_the_persons() -> None:
    harness = read_harness((), default_files(), [])
    text = system_text(harness, name="otter", url="http://otter.localhost", now=NOW, time_zone="Europe/Berlin")
    assert text.endswith("Today is Sunday 2026-11-22 in Europe/Berlin, where the person is.")
    assert "{name}" not in text
    assert "{url}" not in text
    assert "{site}" not in text
