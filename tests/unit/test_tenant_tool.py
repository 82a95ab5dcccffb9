"""What a tenant's tools.json may say: what fits works, and what does not is said in words."""

import json
import time
from typing import Any

import pytest

from subclaw.core.tenant_tool import TOOLS_LIMIT, TenantTool, ToolsRead, parse_tools

TAKEN = ("read_file", "shell_exec")
WEATHER: dict[str, Any] = {
    "name": "weather",
    "description": "The weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 100}, "days": {"type": ["integer", "null"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "command": 'echo "$TOOL_INPUT" | base64 -d | jq -r .city',
    "timeout_s": 5,
}


def read(*tools: object) -> ToolsRead:
    return parse_tools(json.dumps(tools).encode(), TAKEN)


def only(*tools: object) -> TenantTool:
    result = read(*tools)
    assert result.tools is not None
    assert not result.problems
    (tool,) = result.tools
    return tool


def with_property(schema: object) -> dict[str, Any]:
    return {**WEATHER, "parameters": {"type": "object", "properties": {"a": schema}}}


def nested(depth: int) -> dict[str, Any]:
    return {"type": "array", "items": nested(depth - 1)} if depth else {"type": "string"}


def test_a_tool_that_fits() -> None:
    tool = only(WEATHER)
    assert (tool.command, tool.timeout_s) == (WEATHER["command"], 5.0)
    assert tool.definition.name == "weather"
    assert tool.definition.parameters == WEATHER["parameters"]
    assert not tool.definition.idempotent


def test_what_may_be_left_out_and_what_means_nothing() -> None:
    tool = only({"name": "now", "description": "The time.", "command": "date", "version": 2, "author": None})
    assert tool.timeout_s == 60.0
    assert tool.definition.parameters == {"type": "object", "properties": {}}
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}
    assert only({**WEATHER, "parameters": schema}).definition.parameters == {"type": "object", "properties": {}}
    other = {key: value for key, value in WEATHER.items() if key != "parameters"}
    assert only({**other, "input_schema": WEATHER["parameters"]}) == only(WEATHER)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is not JSON"),
        (b"[", "it is not JSON: Expecting value in line 1, column 2"),
        (b"\xff\xfe", "it is not UTF-8"),
        (b"{}", "it must be a list of tools"),
        (b"null", "it must be a list of tools"),
        (b"[NaN]", "NaN is not JSON"),
        (b"[1e999]", "a number that is too large"),
        (b"[" + b"1" * 5_000 + b"]", "a number that is too long"),
        (b"[" * 30_000, "nested too deeply"),
        (b"[" + b" " * 70_000 + b"]", "at most 65,536 are read"),
    ],
)
def test_a_file_of_which_nothing_can_be_used(content: bytes, words: str) -> None:
    result = parse_tools(content, TAKEN)
    assert result.tools is None
    (problem,) = result.problems
    assert problem.startswith("tools.json: ")
    assert words in problem


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": None}, "number 2 is left out: its name is missing"),
        ({"name": "9lives"}, "begins with a letter"),
        ({"name": "a\n"}, "begins with a letter"),
        ({"name": "caf\u00e9"}, "the tool 'caf\\xe9' is left out: a name has"),
        ({"name": "x" * 65}, "65 characters; at most 64"),
        ({"name": "shell_exec"}, "shell_exec is a tool already"),
        ({"name": "Shell-EXEC"}, "shell_exec is a tool already"),
        ({"name": "Weather"}, "there is a tool weather before it"),
        ({"description": ""}, "its description is missing"),
        ({"description": "x" * 501}, "501 characters; at most 500"),
        ({"description": "\ud800"}, "half a character"),
        ({"command": ["ls"]}, "its command is missing"),
        ({"command": "a\0b"}, "a NUL"),
        ({"command": "x" * 8_001}, "at most 8,000"),
        ({"timeout_s": 0.5}, "timeout_s must be a number from 1 to 600"),
        ({"timeout_s": 601}, "timeout_s must be"),
        ({"timeout_s": True}, "timeout_s must be"),
        ({"timeout_s": "5"}, "timeout_s must be"),
        ({"parameters": None}, 'JSON schema with "type": "object"'),
        ({"parameters": {"type": "string"}}, 'JSON schema with "type": "object"'),
        ({"parameters": {"type": "object", "anyOf": [{}]}}, "parameters: 'anyOf' cannot be used"),
        ({"parameters": {"type": "object", "properties": []}}, "parameters.properties must be an object"),
        ({"parameters": {"type": "object", "properties": {"a b": {}}}}, "'a b' cannot be an argument's name"),
        ({"parameters": {"type": "object", "required": ["a"]}}, "names that are in properties"),
        ({"parameters": {"type": "object", "description": "x" * 4_000}}, "at most 4,000 are taken"),
    ],
)
def test_a_tool_that_is_left_out_beside_one_that_works(changes: dict[str, Any], words: str) -> None:
    result = read(WEATHER, {**WEATHER, "name": "other", **changes})
    assert result.tools is not None
    assert [tool.definition.name for tool in result.tools] == ["weather"]
    (problem,) = result.problems
    assert words in problem
    assert problem.endswith(".")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (True, "parameters.a must be an object"),
        ({"type": "strin"}, "parameters.properties.a.type"),
        ({"minimum": "1"}, "'1' is not of type 'number'"),
        ({"type": "array"}, "of what items"),
        ({"type": ["array", "null"]}, "of what items"),
        ({"type": "array", "items": [{}]}, "parameters.a.items must be an object"),
        ({"anyOf": {}}, "anyOf must be a list"),
        ({"anyOf": []}, "parameters.properties.a.anyOf"),
        ({"type": "string", "pattern": "(a+)+$"}, "'pattern' cannot be used; check that in the command"),
        ({"type": "object", "patternProperties": {"(a+)+$": {}}}, "'patternProperties' cannot be used"),
        ({"$ref": "https://example.com/schema.json"}, "'$ref' cannot be used"),
        ({"$ref": "#"}, "'$ref' cannot be used"),
        ({"type": "array", "items": {}, "uniqueItems": True}, "'uniqueItems' cannot be used"),
        ({"type": "number", "multipleOf": 0.1}, "'multipleOf' cannot be used"),
        ({"title": "\ud800"}, "half a character"),
        (nested(20), "nested too deeply"),
    ],
)
def test_a_schema_that_cannot_be(schema: object, words: str) -> None:
    result = read(with_property(schema))
    assert result.tools == ()
    (problem,) = result.problems
    assert words in problem


@pytest.mark.parametrize(
    "schema",
    [
        {"enum": ["a", 1, None]},
        {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}], "default": None, "title": "A"},
        {"type": "object", "properties": {"b": {"type": "boolean"}}, "additionalProperties": {"type": "integer"}},
        {"type": "array", "items": {"type": "number", "minimum": 0, "exclusiveMaximum": 1}, "maxItems": 5},
        {},
    ],
)
def test_a_schema_that_can_be(schema: object) -> None:
    assert only(with_property(schema)).definition.parameters["properties"] == {"a": schema}


def test_too_many_tools() -> None:
    result = read(*({**WEATHER, "name": f"tool{number}"} for number in range(TOOLS_LIMIT + 5)))
    assert result.tools is not None
    assert len(result.tools) == TOOLS_LIMIT
    assert result.problems == (f"tools.json: at most {TOOLS_LIMIT} tools are used; the last 5 are left out.",)


def test_a_file_of_nothing_but_mistakes_is_said_in_few_lines() -> None:
    result = parse_tools(b"[" + b"1," * 30_000 + b"1]", TAKEN)
    assert result.tools == ()
    assert len(result.problems) == TOOLS_LIMIT + 1
    assert result.problems[0] == "tools.json: tool number 1 is left out: it must be an object."


def test_the_worst_schemas_are_read_in_no_time() -> None:
    worst = (
        with_property({"type": [[number] for number in range(600)]}),
        with_property({"anyOf": [{"type": "string"}] * 150}),
        with_property({"enum": [[number] for number in range(500)]}),
    )
    began_s = time.monotonic()
    read(*({**tool, "name": f"tool{number}"} for number in range(3) for tool in worst))
    assert time.monotonic() - began_s < 5.0
