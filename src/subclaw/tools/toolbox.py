"""The toolbox: tools by name, every call checked against its schema, every outcome a result."""

import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jsonschema import Draft202012Validator

from subclaw.core.errors import Invalid, SubclawError
from subclaw.core.tenant_tool import alike
from subclaw.core.tool import RESULT_LIMIT_CHARACTERS, Caller, ToolCall, ToolDefinition, ToolResult
from subclaw.core.tool_schema import count_values, require_depth

log = logging.getLogger(__name__)

DEPTH_LIMIT = 64
"""How many levels of JSON arguments may have."""

WORK_LIMIT = 200_000
"""Most values of arguments times values of the schema by which they are checked: at worst that takes half a second."""

Arguments = Mapping[str, Any]
Perform = Callable[[Caller, Arguments], Awaitable[str]]
Settle = Callable[[Caller, Arguments], Awaitable[str | None]]


def never(arguments: Arguments) -> bool:
    """Say that no person has to approve a call."""
    return False


def always(arguments: Arguments) -> bool:
    """Say that a person has to approve every call."""
    return True


async def nothing(caller: Caller, arguments: Arguments) -> None:
    """Say that nothing is known of a call before it is made."""


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A tool and what it does: `perform` returns words for the model, or raises a `SubclawError` with such words.

    A call that `must_be_approved` waits for a person, unless `settle` returns or raises such words before.
    """

    definition: ToolDefinition
    perform: Perform
    must_be_approved: Callable[[Arguments], bool] = never
    settle: Settle = nothing

    @cached_property
    def _validator(self) -> Draft202012Validator:
        return Draft202012Validator(dict(self.definition.parameters))

    @cached_property
    def _most_values(self) -> int:
        return WORK_LIMIT // count_values(dict(self.definition.parameters))

    def problem(self, arguments: object) -> str | None:
        """Return in words what of some arguments does not fit, if anything. Bounded, whoever wrote the schema."""
        try:
            require_depth(arguments, DEPTH_LIMIT, "they are")
        except Invalid as error:
            return error.public
        if (count := count_values(arguments)) > self._most_values:
            return f"they have {count:,} values, and {self._most_values:,} are possible"
        problem = next(self._validator.iter_errors(arguments), None)
        if problem is None:
            return None
        where = "".join(f".{step}" for step in problem.absolute_path) or " itself"
        return f"{where[1:]}: {problem.message[:300]}"


def define(name: str, description: str, *, idempotent: bool, **properties: Mapping[str, Any]) -> ToolDefinition:
    """Define a tool whose arguments are these properties (JSON schemas); those without a default must be given."""
    required = [key for key, schema in properties.items() if "default" not in schema]
    parameters = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return ToolDefinition(name=name, description=description, parameters=parameters, idempotent=idempotent)


class BuiltInToolbox:
    """See `core.tool.Toolbox`."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._tools = {tool.definition.name: tool for tool in tools}
        self._definitions = tuple(tool.definition for tool in tools)

    def joined(self, tools: Iterable[Tool]) -> "BuiltInToolbox":
        """Return a toolbox that has these tools, too, but for those whose name, or one like it, is taken.

        It is cheap: what arguments are checked by is made once for each `Tool`.
        """
        names = {alike(name) for name in self._tools}
        added: list[Tool] = []
        for tool in tools:
            if (name := alike(tool.definition.name)) not in names:
                names.add(name)
                added.append(tool)
        return BuiltInToolbox([*self._tools.values(), *added])

    def definitions(self) -> tuple[ToolDefinition, ...]:
        """See `core.tool.Toolbox.definitions`."""
        return self._definitions

    def check(self, call: ToolCall) -> ToolResult | None:
        """See `core.tool.Toolbox.check`."""
        arguments = self._arguments(call)
        return arguments if isinstance(arguments, ToolResult) else None

    def must_be_approved(self, call: ToolCall) -> bool:
        """See `core.tool.Toolbox.must_be_approved`."""
        arguments = self._arguments(call)
        return not isinstance(arguments, ToolResult) and self._tools[call.name].must_be_approved(arguments)

    async def settle(self, caller: Caller, call: ToolCall) -> ToolResult | None:
        """See `core.tool.Toolbox.settle`."""
        arguments = self._arguments(call)
        if isinstance(arguments, ToolResult):
            return arguments
        return await _result(call, self._tools[call.name].settle(caller, arguments))

    async def perform(self, caller: Caller, call: ToolCall) -> ToolResult:
        """See `core.tool.Toolbox.perform`."""
        arguments = self._arguments(call)
        if isinstance(arguments, ToolResult):
            return arguments
        return await _result(call, self._tools[call.name].perform(caller, arguments)) or ToolResult(content="")

    def _arguments(self, call: ToolCall) -> Mapping[str, Any] | ToolResult:
        if call.withheld:
            return _error(call.withheld)
        if call.name not in self._tools:
            return _error(f"There is no tool {call.name[:64]!r}. There are: {', '.join(self._tools)}.")
        try:
            arguments = json.loads(call.arguments or "{}")
        except (ValueError, RecursionError):  # the latter for what is nested too deeply
            return _error(f"The arguments of {call.name} were not JSON.")
        if problem := self._tools[call.name].problem(arguments):
            return _error(f"The arguments of {call.name} do not fit: {problem}")
        assert isinstance(arguments, dict)
        return arguments


async def _result(call: ToolCall, doing: Awaitable[str | None]) -> ToolResult | None:
    try:
        words = await doing
    except SubclawError as error:
        return _error(shorten(error.public))
    except Exception as error:  # a tool's defect is the model's to hear of and ours to find
        log.exception("tool %s failed", call.name)
        return _error(f"The tool failed inside ({type(error).__name__}). Try another way.")
    return None if words is None else ToolResult(content=shorten(words))


def shorten(text: str) -> str:
    """Return a text within the limit of a result: its beginning and its end, and how much was left out between."""
    if len(text) <= RESULT_LIMIT_CHARACTERS:
        return text
    half = RESULT_LIMIT_CHARACTERS // 2
    left_out = len(text) - 2 * half
    return f"{text[:half]}\n[… {left_out:,} characters left out …]\n{text[-half:]}"


def _error(words: str) -> ToolResult:
    return ToolResult(content=words, is_error=True)
