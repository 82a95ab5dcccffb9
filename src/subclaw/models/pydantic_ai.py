"""A model of pydantic-ai's behind our port: our values in, one request, our values out."""

import asyncio
import functools
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from pydantic_ai import messages as said
from pydantic_ai.models import Model as ProviderModel
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition as ProviderTool

from subclaw.core.model import REPLY_LIMIT_TOKENS, ModelReply, ModelSaid, Prompt, ToolSaid, Usage, UserSaid, Utterance
from subclaw.core.tool import ToolDefinition
from subclaw.models.answers import reply_of
from subclaw.models.faults import fault_of
from subclaw.models.patience import Patience, persist
from subclaw.models.requests import Asked, is_good_aloud, said_aloud, said_at_once

NUDGE = (
    "[Nobody wrote. Your last answer had neither words nor calls. Go on, or say briefly what there is to say to the "
    "person.]"
)
"""What is said to a model that said nothing. The same prompt would mostly get the same silence."""


class PydanticAiModel:
    """See `core.model.Model`.

    `choice` is its name for the operator; `settings` makes what a provider is told of a prompt beside it. One that
    `streams` is asked to say its words as they come, if anybody listens.
    """

    def __init__(
        self,
        model: ProviderModel,
        *,
        choice: str,
        patience: Patience,
        reply_limit_tokens: int = REPLY_LIMIT_TOKENS,
        settings: Callable[[Prompt], ModelSettings] = lambda _: ModelSettings(),
        streams: bool = True,
    ) -> None:
        self._model = model
        self._choice = choice
        self._patience = patience
        self._reply_limit_tokens = reply_limit_tokens
        self._settings = settings
        self._streams = streams
        self._last: tuple[Sequence[ToolDefinition], ModelRequestParameters] | None = None

    async def ask(self, prompt: Prompt) -> ModelReply:
        """See `core.model.Model.ask`."""
        try:
            async with asyncio.timeout(self._patience.call_s):
                reply = await self._persist(prompt)
                if reply.text or reply.calls:
                    return reply
                nudged = replace(prompt, history=[*prompt.history, UserSaid(text=NUDGE)])
                second = await self._persist(nudged)
                return replace(second, usage=_together(reply.usage, second.usage))
        except TimeoutError as error:
            raise fault_of(error).error from error

    async def _persist(self, prompt: Prompt) -> ModelReply:
        return await persist(functools.partial(self._request, prompt), self._patience, label=self._choice)

    async def _request(self, prompt: Prompt) -> ModelReply:
        """Send one request; if somebody listens, one for a stream, and another if that was no good."""
        asked = Asked(
            messages=_messages(prompt),
            settings=self._limits(prompt) | self._settings(prompt),
            parameters=self._parameters(prompt.tools),
        )
        if prompt.hearer is not None and prompt.hearer.begins() and self._streams:
            response = await said_aloud(self._model, asked, prompt.hearer)
            aloud = reply_of(response, self._choice, prompt)
            if is_good_aloud(response):
                return aloud
            prompt.hearer.begins()
            whole = reply_of(await said_at_once(self._model, asked), self._choice, prompt)
            return replace(whole, usage=_together(aloud.usage, whole.usage))
        return reply_of(await said_at_once(self._model, asked), self._choice, prompt)

    def _limits(self, prompt: Prompt) -> ModelSettings:
        limit_tokens = min(self._reply_limit_tokens, prompt.limit_tokens)
        return ModelSettings(max_tokens=limit_tokens, timeout=self._patience.attempt_s)

    def _parameters(self, tools: Sequence[ToolDefinition]) -> ModelRequestParameters:
        """Return what is said of tools; for the same tools the same, so that it is adapted to the provider once."""
        if self._last is None or self._last[0] is not tools:
            self._last = tools, ModelRequestParameters(function_tools=list(map(_tool, tools)), allow_text_output=True)
        return self._last[1]


def _together(one: Usage, other: Usage) -> Usage:
    """Return what two calls to the same model used."""
    return replace(
        other,
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        cache_read_tokens=one.cache_read_tokens + other.cache_read_tokens,
        cache_write_tokens=one.cache_write_tokens + other.cache_write_tokens,
    )


def _tool(tool: ToolDefinition) -> ProviderTool:
    return ProviderTool(
        name=tool.name, description=tool.description, parameters_json_schema=dict(tool.told_parameters), strict=False
    )


def _messages(prompt: Prompt) -> list[said.ModelMessage]:
    """Return the prompt as pydantic-ai's messages: requests and responses in turn, tool results with what follows."""
    instructions = prompt.instructions or None  # some providers refuse what is there and empty
    made: list[said.ModelMessage] = []
    parts: list[said.ModelRequestPart] = []
    for utterance in prompt.history:
        if isinstance(utterance, ModelSaid):
            made.append(said.ModelRequest(parts=parts, instructions=instructions))
            made.append(said.ModelResponse(parts=list(_response_parts(utterance))))
            parts = []
        else:
            parts.append(_request_part(utterance))
    return [*made, said.ModelRequest(parts=parts, instructions=instructions)]


def _request_part(utterance: Utterance) -> said.ModelRequestPart:
    match utterance:
        case ToolSaid(call=call, content=content):
            return said.ToolReturnPart(tool_name=_name(call.name), content=content, tool_call_id=call.id)
        case UserSaid(text=text):
            return said.UserPromptPart(content=text)
        case ModelSaid():
            raise AssertionError("a model's own words are a response")


def _response_parts(utterance: ModelSaid) -> Iterable[said.ModelResponsePart]:
    if utterance.text or not utterance.calls:
        yield said.TextPart(content=utterance.text)
    for call in utterance.calls:
        yield said.ToolCallPart(tool_name=_name(call.name), args=_repeatable(call.arguments), tool_call_id=call.id)


def _name(name: str) -> str:
    """Return a tool's name as providers accept it back: models make up names, and one of them must not end it all."""
    accepted = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64]
    return accepted if re.match("[A-Za-z_]", accepted) else f"_{accepted}"[:64]


def _repeatable(arguments: str) -> str:
    """Return a call's arguments as providers accept them back: what was not a JSON object becomes an empty one."""
    try:
        return arguments if isinstance(json.loads(arguments), dict) else "{}"
    except (ValueError, RecursionError):
        return "{}"
