"""A model's calls are checked, and whatever goes wrong is a short, true error."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from subclaw.core.errors import NotFound
from subclaw.core.machine import Command, CommandResult, Ended, FileSlice
from subclaw.core.tenant import TenantId
from subclaw.core.tool import RESULT_LIMIT_CHARACTERS, Caller, ToolCall, ToolDefinition, ToolResult
from subclaw.machines.host_client import HostClient
from subclaw.tools.commands import describe_command
from subclaw.tools.machine import describe_file, machine_tools
from subclaw.tools.toolbox import DEPTH_LIMIT, BuiltInToolbox, Tool

CALLER = Caller(tenant_id=TenantId(1), conversation_id=1, call_id="1", turn_id="1")


async def echo(caller: Caller, arguments: Mapping[str, Any]) -> str:
    match arguments["text"]:
        case "missing":
            raise NotFound("There is no such file.")
        case "defect":
            raise ZeroDivisionError
        case text:
            return str(text)


TOOLBOX = BuiltInToolbox(
    [
        Tool(
            definition=ToolDefinition(
                name="echo",
                description="",
                parameters={
                    "type": "object",
                    "properties": {"text": {"type": "string"}},
                    "required": ["text"],
                    "additionalProperties": False,
                },
                idempotent=True,
            ),
            perform=echo,
        )
    ]
)


def perform(arguments: str, name: str = "echo") -> ToolResult:
    return asyncio.run(TOOLBOX.perform(CALLER, ToolCall(id="1", name=name, arguments=arguments)))


async def settle(caller: Caller, arguments: Mapping[str, Any]) -> str | None:
    return await echo(caller, arguments) if arguments["text"] else None


def asks(arguments: str) -> tuple[bool, ToolResult | None]:
    """Return whether a person must approve a call of a tool that asks about some, and what it comes to before."""
    definition = TOOLBOX.definitions()[0]
    guarded = Tool(definition=definition, perform=echo, must_be_approved=lambda a: a["text"] != "free", settle=settle)
    toolbox, call = BuiltInToolbox([guarded]), ToolCall(id="1", name="echo", arguments=arguments)
    return toolbox.must_be_approved(call), asyncio.run(toolbox.settle(CALLER, call))


def test_a_call_that_a_person_must_approve_whatever_the_operator_says() -> None:
    assert asks('{"text": ""}') == (True, None)
    assert asks('{"text": "free"}')[0] is False
    assert asks('{"text": "done already"}') == (True, ToolResult(content="done already"))
    assert asks('{"text": "missing"}') == (True, ToolResult(content="There is no such file.", is_error=True))
    must, result = asks('{"text": 5}')
    assert (must, result is not None and result.is_error) == (False, True)


def test_a_call_that_needs_nobody() -> None:
    call = ToolCall(id="1", name="echo", arguments='{"text": "hi"}')
    assert not TOOLBOX.must_be_approved(call)
    assert asyncio.run(TOOLBOX.settle(CALLER, call)) is None


def test_a_call_that_fits() -> None:
    assert perform('{"text": "hi"}') == ToolResult(content="hi")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("{not json", "not JSON"),
        ("[]", "not of type 'object'"),
        ("{}", "'text' is a required property"),
        ('{"text": 1}', "text: 1 is not of type 'string'"),
        ('{"text": "a", "more": 1}', "Additional properties"),
        ('{"text": "missing"}', "no such file"),
        ('{"text": "defect"}', "ZeroDivisionError"),
    ],
)
def test_a_call_that_does_not(arguments: str, told: str) -> None:
    result = perform(arguments)
    assert result.is_error
    assert told in result.content
    assert len(result.content) < 600


@pytest.mark.parametrize(("arguments", "name"), [("{not json", "echo"), ('{"text": 1}', "echo"), ("{}", "nope")])
def test_what_is_wrong_with_a_call_is_told_without_performing_it(arguments: str, name: str) -> None:
    call = ToolCall(id="1", name=name, arguments=arguments)
    assert TOOLBOX.check(call) == perform(arguments, name)
    fits = ToolCall(id="1", name="echo", arguments='{"text": "defect"}')
    assert TOOLBOX.check(fits) is None
    assert TOOLBOX.check(replace(fits, withheld="Too many.")) == ToolResult(content="Too many.", is_error=True)


def test_an_unknown_tool_is_told_with_the_known_ones() -> None:
    result = perform("{}", name="nope")
    assert result.is_error
    assert "echo" in result.content


def named(name: str) -> Tool:
    return Tool(definition=replace(TOOLBOX.definitions()[0], name=name), perform=echo)


def test_a_toolbox_joined_with_tools_of_which_none_takes_the_place_of_another() -> None:
    joined = TOOLBOX.joined([named("weather"), named("echo"), named("ECHO"), named("WEATHER"), named("news")])
    assert [definition.name for definition in joined.definitions()] == ["echo", "weather", "news"]
    assert TOOLBOX.definitions() == joined.definitions()[:1]
    call = ToolCall(id="1", name="weather", arguments='{"text": "hi"}')
    assert asyncio.run(joined.perform(CALLER, call)) == ToolResult(content="hi")
    assert TOOLBOX.check(call) is not None


def test_what_would_take_long_to_check_is_not_checked() -> None:
    alternatives: Any = {"anyOf": [{"type": "string"}] * 100}
    parameters = {"type": "object", "properties": {"a": {"type": "array", "items": alternatives}}}
    tool = Tool(
        definition=ToolDefinition(name="a", description="", parameters=parameters, idempotent=True), perform=echo
    )
    assert tool.problem({"a": ["x"] * 500}) is None
    assert "values" in str(tool.problem({"a": [5] * 10_000}))


def test_arguments_that_are_nested_too_deeply() -> None:
    assert "not of type 'object'" in perform("[" * DEPTH_LIMIT + "]" * DEPTH_LIMIT).content
    deeper = DEPTH_LIMIT + 1
    assert "nested too deeply" in perform("[" * deeper + "]" * deeper).content
    assert "nested too deeply" in perform('{"text": ' + "[" * 500 + "]" * 500 + "}").content


def test_a_long_result_keeps_its_ends() -> None:
    content = perform(f'{{"text": "a{"x" * 100_000}z"}}').content
    assert content.startswith("ax")
    assert content.endswith("xz")
    assert len(content) < RESULT_LIMIT_CHARACTERS + 100
    assert "characters left out" in content


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (CommandResult(ended=Ended.EXITED, exit_status=0, output=b"hi\n", output_bytes=3), "hi"),
        (CommandResult(ended=Ended.EXITED, exit_status=0, output=b"", output_bytes=0), "[done, no output]"),
        (CommandResult(ended=Ended.EXITED, exit_status=2, output=b"bad\n", output_bytes=4), "bad\n[exit status 2]"),
        (
            CommandResult(ended=Ended.TIMED_OUT, exit_status=None, output=b"\xff", output_bytes=1_000_000_000),
            "\ufffd\n[999,999,999 of 1,000,000,000 bytes of output were left out in the middle]\n"
            "[ended after 5 s, because it had not finished]",
        ),
    ],
)
def test_a_commands_end_in_words(result: CommandResult, told: str) -> None:
    assert describe_command(result, Command(text="x", timeout_s=5)) == told


async def no_placeholders(tenant_id: TenantId) -> Mapping[str, str]:
    return {}


def test_the_shell_is_told_of_in_few_bytes() -> None:
    nowhere = HostClient(Path("/nowhere"))
    tools = machine_tools(nowhere, nowhere, no_placeholders)
    (shell,) = [tool.definition for tool in tools if tool.definition.name == "shell_exec"]
    function = {"name": shell.name, "description": shell.description, "parameters": shell.parameters}
    assert len(json.dumps({"type": "function", "function": function}, separators=(",", ":"))) < 520


def test_a_long_file_says_where_to_go_on() -> None:
    told = describe_file(FileSlice(content=b"abc", offset_bytes=2, size_bytes=9))
    assert told == "abc\n[4 bytes more; go on with offset_bytes 5]"
