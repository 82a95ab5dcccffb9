"""Agents' folders: the example, and what is refused, by file, line and remedy."""

import pytest

from subclaw.business.changes import changed_paths, changes
from subclaw.business.init import example_files
from subclaw.business.lines import line_of
from subclaw.business.package import read_package
from subclaw.business.python_tools import tool_functions
from subclaw.core.agent import OnBusy
from subclaw.core.business import Compute, digest_of
from subclaw.core.errors import Invalid
from subclaw.models.choice import usable_choice

GOOD = {"agent.toml": b'id = "shop"\n', "instructions.md": b"Be kind.\n"}


def test_the_example_is_read_as_it_is_made() -> None:
    package = read_package(example_files("shop-2"))
    assert (package.id, package.compute, package.model) == ("shop-2", Compute.NONE, "")
    assert package.instructions.startswith("You answer customers")
    assert package.settings.step_limit == 10
    assert [tool.name for tool in tool_functions(package.files)] == ["order_status"]


def test_what_is_set_is_what_the_agent_has() -> None:
    text = b"""
id = "shop"
model = "openai:gpt-6-luna"
compute = "on_demand"
machine_tools = ["shell_exec"]
channels = ["api", "widget"]
on_busy = "reject"
[budgets]
turn_usd = 0.25
[limits]
approval_s = 90
"""
    package = read_package({**GOOD, "agent.toml": text})
    assert package.model == "openai:gpt-6-luna"
    assert (package.compute, package.machine_tools) == (Compute.ON_DEMAND, ("shell_exec",))
    assert package.channels == ("api", "widget")
    settings = package.settings
    assert (settings.on_busy, settings.turn_limit_microusd) == (OnBusy.REJECT, 250_000)
    assert (settings.approval_expires_s, settings.turn_limit_s) == (90, 1_800)


@pytest.mark.parametrize(
    ("path", "content", "said"),
    [
        ("agent.toml", None, "agent.toml:1: There is no such file. Add it"),
        ("instructions.md", None, "instructions.md:1: There is no such file. Add it"),
        ("instructions.md", b" \n", "instructions.md:1: There is nothing in it. Say who"),
        ("instructions.md", b"a\nb\n\xff", "instructions.md:3: This is not UTF-8 text. Save"),
        ("agent.toml", b'id = "shop"\nmodel = \n', "agent.toml:2: This is not TOML: Invalid value. Correct that line."),
        (
            "agent.toml",
            b'id = "shop"\n\nmodle = ""\n',
            "agent.toml:3: modle: Extra inputs are not permitted. Remove it",
        ),
        ("agent.toml", b"# nothing\n", "agent.toml:1: id: Field required. Add it."),
        ("agent.toml", b'id = "Shop"\n', "agent.toml:1: id: String should match"),
        ("agent.toml", b'id = "shop"\nchannels = ["fax"]\n', "agent.toml:2: channels.0: Input should be 'api' or"),
        ("agent.toml", b'id = "default"\n', "agent.toml:1: The agent of persons has this id."),
        (
            "agent.toml",
            b'id = "shop"\n[limits]\nturn_s = 60\nsteps = 0\n',
            "agent.toml:4: limits.steps: Input should be",
        ),
        (
            "agent.toml",
            b'id = "shop"\nmodel = "acme:1"\n',
            "agent.toml:2: model is 'acme:1'; it must be provider:model",
        ),
        ("agent.toml", b'id = "shop"\nmachine_tools = ["shell_exec"]\n', "agent.toml:2: machine_tools need a machine"),
        (
            "agent.toml",
            b'id = "shop"\ncompute = "on_demand"\nmachine_tools = ["publish_site"]\n',
            "agent.toml:3: machine_tools: 'publish_site' cannot be had. Name some of shell_exec",
        ),
        ("polcy.toml", b"", "polcy.toml:1: An agent's folder has no such file."),
        ("tools/a.txt", b"", "tools/a.txt:1: An agent's folder has no such file."),
        ("policy.toml", b"a = 1\na = 2\n", "policy.toml:2: This is not TOML: Cannot overwrite a value. Correct"),
        ("tools/a.py", b"def a(:\n", "tools/a.py:1: This is not Python: invalid syntax. Correct that line."),
        ("tools/a.py", b"\x00", "tools/a.py:1: This is not Python"),
        ("tools/a.py", b"(" * 5_000, "tools/a.py:1: This is not Python"),
        ("tools/a.py", b"_x = 1\n", "tools/a.py:1: There is no tool in this file."),
        (
            "tools/a.py",
            b"\ndef a(x):\n  '''A.'''\n",
            "tools/a.py:2: The parameter x of a has no type. Write one, such as",
        ),
        (
            "tools/a.py",
            b"\ndef a(*x: str):\n  '''A.'''\n",
            "tools/a.py:2: a takes *x, of which a model cannot be told.",
        ),
        ("tools/a.py", b"\n\ndef a() -> str:\n  return ''\n", "tools/a.py:3: a has no docstring. Say in one"),
        ("tools/a.py", b"def a():\n  'A.'\ndef a():\n  'B.'\n", "tools/a.py:3: a is in tools/a.py:1, too."),
        ("skills/a.md", b"", "skills/a.md:1: This is no skill"),
        ("evals/a.toml", b"", "evals/a.toml:1: case: Field required. Add it."),
        (
            "evals/a.toml",
            b"\n[[case]]\nname = 'a'\ncheck = [{judge = 'b'}]\n",
            "evals/a.toml:2: Either say or user says",
        ),
        (
            "evals/a.toml",
            b"[[case]]\nname = 'a'\nsay = ['b']\n[[case.check]]\ncalled = 'b'\n[[case.check]]\nwith = {}\n",
            "evals/a.toml:6: A check asks for exactly one thing.",
        ),
    ],
)
def test_what_is_wrong_is_said_by_file_line_and_remedy(path: str, content: bytes | None, said: str) -> None:
    files = {name: text for name, text in {**GOOD, path: content}.items() if text is not None}
    with pytest.raises(Invalid) as caught:
        read_package(files)
    assert caught.value.public.startswith(said)


def test_nothing_of_a_folder_is_run() -> None:
    files = {**GOOD, "tools/a.py": b"raise SystemExit\ndef a() -> str:\n  '''A.'''\n"}
    assert read_package(files).id == "shop"


def test_a_digest_is_of_paths_and_contents() -> None:
    assert digest_of(GOOD) == digest_of(dict(reversed(GOOD.items())))
    folders = [{"a": b"bc"}, {"ab": b"c"}, {"a": b"b", "c": b""}, {"a": b"bd"}, {}]
    assert len({digest_of(folder) for folder in folders}) == len(folders)


def test_a_line_is_found_in_arrays_of_tables_and_dotted_keys() -> None:
    text = 'a = 1\n[b]\nc.d = 2\n[[e]]\nf = 3\n[[e]]\n"f" = 4\n[[e.g]]\nh = 5\n'
    assert line_of(text, ("b", "c", "d")) == 3
    assert line_of(text, ("e", 1, "f")) == 7
    assert line_of(text, ("e", 1, "g", 0, "h")) == 9
    assert line_of(text, ("e", 0, "missing")) == 4
    assert line_of(text, ("missing",)) == 1


def test_a_diff_says_what_changes() -> None:
    before = {"a": b"one\ntwo\n", "b": b"gone\n", "same": b"x"}
    after = {"a": b"one\nthree\n", "c": b"\xff", "same": b"x"}
    assert changed_paths(before, after) == (("changed", "a"), ("removed", "b"), ("added", "c"))
    lines = changes(before, after)
    assert {"--- a/a", "+++ b/a", "-two", "+three", "-gone", "+++ /dev/null", "added: c (1 bytes)"} <= set(lines)
    assert changes(before, before) == ()


def test_what_is_the_audits_is_nobody_elses() -> None:
    with pytest.raises(Invalid, match=r"agent\.toml:1: .*the audit's own"):
        read_package({**GOOD, "agent.toml": b'id = "audit-isolation"\n'})
    with pytest.raises(Invalid, match=r"agent\.toml:2: "):
        read_package({**GOOD, "agent.toml": b'id = "shop"\nmodel = "audit"\n'})
    package = read_package({**GOOD, "agent.toml": b'id = "audit-isolation"\nmodel = "audit"\n'})
    with pytest.raises(Invalid):
        usable_choice(package.model, ["openai"])  # by which `plan` and `apply` refuse a folder that says so
