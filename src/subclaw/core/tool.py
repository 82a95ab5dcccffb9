"""A tool: what a model can ask for. Its definition, the call that a model makes, the port that performs it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from subclaw.core.tenant import TenantId

RESULT_LIMIT_CHARACTERS = 16_000
"""Longest tool result that a model is shown."""

BOUNDS = frozenset({"minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum", "additionalProperties"})
"""Keywords of JSON schemas that calls are checked by and models are not told."""


@dataclass(frozen=True, kw_only=True)
class ToolDefinition:
    """What a model is told of a tool. `parameters` is a JSON schema of an object.

    `idempotent` says that a call which may have happened can be made again without harm.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    idempotent: bool

    @cached_property
    def told_parameters(self) -> Mapping[str, Any]:
        """The parameters as a model is told them, without the bounds that hardly any call comes near."""
        return without_bounds(self.parameters)

    @cached_property
    def told_json(self) -> str:
        """The parameters as a model is told them, as JSON text."""
        return json.dumps(self.told_parameters)


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """A model's wish to use a tool. `arguments` is JSON text as the model wrote it, not yet parsed or believed.

    `withheld` says to the model why the call is not to be performed; it is empty for one that is.
    """

    id: str
    name: str
    arguments: str
    withheld: str = ""


@dataclass(frozen=True, kw_only=True)
class ToolResult:
    """What the model is told of a call. Errors are results too: short, true, and in words."""

    content: str
    is_error: bool = False


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Whose call it is: a tenant's agent, in one of its conversations.

    `call_id` names the call, and is the same when one that was interrupted is made again: an idempotency key. `turn_id`
    is the same for all calls of a turn; both are of letters, digits and underscores.
    """

    tenant_id: TenantId
    conversation_id: int
    call_id: str
    turn_id: str


def without_bounds(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON schema without the bounds of lengths and numbers: a call beyond them is told so."""

    def inner(key: str, value: Any) -> Any:
        if key == "properties":
            return {name: without_bounds(of_one) for name, of_one in value.items()}
        return without_bounds(value) if key == "items" else value

    return {key: inner(key, value) for key, value in schema.items() if key not in BOUNDS and not is_nothing(key, value)}


def is_nothing(key: str, value: Any) -> bool:
    """Say whether a keyword goes without saying: nothing is required, or what is left out is nothing."""
    return key in ("required", "default") and not value


class Toolbox(Protocol):
    """The tools of an agent."""

    def definitions(self) -> tuple[ToolDefinition, ...]:
        """List what the model may call, in a stable order."""
        ...

    def check(self, call: ToolCall) -> ToolResult | None:
        """Return what is wrong with a call that cannot be performed as it stands; None if it can be tried."""
        ...

    def must_be_approved(self, call: ToolCall) -> bool:
        """Tell whether a person must approve a call, whatever the operator says. It is one that can be performed."""
        ...

    async def settle(self, caller: Caller, call: ToolCall) -> ToolResult | None:
        """Return what a call comes to that need not be asked about: it is denied for certain, or done already."""
        ...

    async def perform(self, caller: Caller, call: ToolCall) -> ToolResult:
        """Check a call against its schema and perform it. Whatever goes wrong is a result, not an exception."""
        ...
