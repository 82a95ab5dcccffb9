"""Whatever is in a tenant's files, they are read, and what is wrong with them is said in printable lines."""

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from subclaw.core.skill import NAME_LIMIT_CHARACTERS, WHEN_LIMIT_CHARACTERS, Skill, parse_skill, skill_lines
from subclaw.core.tenant_tool import NAME, parse_tools
from subclaw.core.tool_schema import KEYWORDS, OBJECT_KEYWORDS, SCHEMA_LIMIT_BYTES
from subclaw.tools.toolbox import Tool

TAKEN = ("shell_exec",)
TEXTS = st.text(st.characters(exclude_categories=()))  # halves of characters, too
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
WORDS = (*sorted(KEYWORDS | OBJECT_KEYWORDS), "pattern", "$ref", "$id", "object", "array", "string", "null", "a", "#")
VALUES = st.recursive(
    SCALARS | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | TEXTS, inner, max_size=4),
    max_leaves=20,
)
SCHEMAS = st.dictionaries(st.sampled_from(WORDS), VALUES, max_size=4)
PARAMETERS = st.builds(lambda schema, inner: {**schema, "type": "object", "properties": inner}, SCHEMAS, SCHEMAS)
FRONT = (
    "---",
    "\n",
    "name: ",
    "description: ",
    "metadata: ",
    "[",
    "]",
    "{",
    "}",
    "&a ",
    "*a",
    ">",
    "|",
    "'",
    '"',
    "- ",
)


async def nothing(caller: object, arguments: object) -> str:
    return ""


@given(content=st.binary() | VALUES.map(lambda value: json.dumps(value).encode()))
@settings(deadline=None)
def test_any_bytes_are_a_file_of_tools_or_a_problem(content: bytes) -> None:
    read = parse_tools(content, TAKEN)
    assert read.tools is not None or len(read.problems) == 1
    assert all("\n" not in problem and problem.startswith("tools.json: ") for problem in read.problems)


@given(name=TEXTS | st.just("a"), parameters=PARAMETERS | VALUES, arguments=VALUES, timeout_s=SCALARS)
@example(name="a", parameters={"type": "object", "properties": {"a": {}}}, arguments={}, timeout_s=1)
@settings(deadline=None, max_examples=400)
def test_a_tool_that_is_taken_can_check_any_arguments(
    name: str, parameters: Any, arguments: Any, timeout_s: object
) -> None:
    tool = {"name": name, "description": "d", "command": "c", "parameters": parameters, "timeout_s": timeout_s}
    read = parse_tools(json.dumps([tool, {**tool, "name": "b", "timeout_s": 5}]).encode(), TAKEN)
    assert read.tools is not None
    assert len(read.tools) + len(read.problems) == 2
    for taken in read.tools:
        assert NAME.fullmatch(taken.definition.name)
        assert len(json.dumps(taken.definition.parameters)) < 6 * SCHEMA_LIMIT_BYTES
        problem = Tool(definition=taken.definition, perform=nothing).problem(arguments)
        assert problem is None or isinstance(problem, str)


@given(content=st.binary() | st.lists(st.sampled_from(FRONT) | st.text(max_size=5)).map("".join).map(str.encode))
@settings(deadline=None, max_examples=400)
def test_any_bytes_are_a_skill_or_a_problem(content: bytes) -> None:
    for text in (content, b"---\n" + content + b"\n---\n"):
        read = parse_skill("skills/a.md", text)
        if isinstance(read, Skill):
            assert 0 < len(read.name) <= NAME_LIMIT_CHARACTERS
            assert 0 < len(read.when) <= WHEN_LIMIT_CHARACTERS
            assert len(skill_lines([read]).splitlines()) == 1
        else:
            assert len(read.splitlines()) == 1
