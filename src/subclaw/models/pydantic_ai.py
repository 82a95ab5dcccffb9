"""A model of pydantic-ai's behind our port: our values in, one request, our values out."""

import asyncio
import json
from collections.abc import Iterable

from pydantic_ai import messages as said
from pydantic_ai.direct import model_request
from pydantic_ai.exceptions import AgentRunError, ModelAPIError, ModelHTTPError
from pydantic_ai.models import Model as ProviderModel
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition as ProviderTool

from subclaw.core.errors import Denied, Exhausted, Invalid, SubclawError, Unauthenticated, Unavailable
from subclaw.core.model import ModelReply, ModelSaid, Prompt, ToolSaid, Usage, UserSaid, Utterance
from subclaw.core.tool import ToolCall, ToolDefinition

REPLY_LIMIT_TOKENS = 8_192
TIMEOUT_S = 300.0
CALL_LIMIT = 16
"""Most tool calls taken from one reply."""


class PydanticAiModel:
    """See `core.model.Model`."""

    def __init__(self, model: ProviderModel) -> None:
        self._model = model

    async def ask(self, prompt: Prompt) -> ModelReply:
        """See `core.model.Model.ask`."""
        parameters = ModelRequestParameters(
            function_tools=[_tool(tool) for tool in prompt.tools], allow_text_output=True
        )
        settings = ModelSettings(max_tokens=REPLY_LIMIT_TOKENS, timeout=TIMEOUT_S)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                response = await model_request(
                    self._model, _messages(prompt), model_settings=settings, model_request_parameters=parameters
                )
        except (AgentRunError, TimeoutError) as error:
            raise _ours(error) from error
        return _reply(response)


def _tool(tool: ToolDefinition) -> ProviderTool:
    return ProviderTool(
        name=tool.name, description=tool.description, parameters_json_schema=dict(tool.parameters), strict=False
    )


def _messages(prompt: Prompt) -> list[said.ModelMessage]:
    """Return the prompt as pydantic-ai's messages: requests and responses in turn, tool results with what follows."""
    made: list[said.ModelMessage] = []
    parts: list[said.ModelRequestPart] = []
    for utterance in prompt.history:
        if isinstance(utterance, ModelSaid):
            made.append(said.ModelRequest(parts=parts, instructions=prompt.instructions))
            made.append(said.ModelResponse(parts=list(_response_parts(utterance))))
            parts = []
        else:
            parts.append(_request_part(utterance))
    return [*made, said.ModelRequest(parts=parts, instructions=prompt.instructions)]


def _request_part(utterance: Utterance) -> said.ModelRequestPart:
    match utterance:
        case ToolSaid(call=call, content=content):
            return said.ToolReturnPart(tool_name=call.name, content=content, tool_call_id=call.id)
        case UserSaid(text=text):
            return said.UserPromptPart(content=text)
        case ModelSaid():
            raise AssertionError("a model's own words are a response")


def _response_parts(utterance: ModelSaid) -> Iterable[said.ModelResponsePart]:
    if utterance.text or not utterance.calls:
        yield said.TextPart(content=utterance.text)
    for call in utterance.calls:
        yield said.ToolCallPart(tool_name=call.name, args=_repeatable(call.arguments), tool_call_id=call.id)


def _repeatable(arguments: str) -> str:
    """Return a call's arguments as providers accept them back: what was not a JSON object becomes an empty one."""
    try:
        return arguments if isinstance(json.loads(arguments), dict) else "{}"
    except (ValueError, RecursionError):
        return "{}"


def _reply(response: said.ModelResponse) -> ModelReply:
    texts = [part.content for part in response.parts if isinstance(part, said.TextPart)]
    calls = [part for part in response.parts if isinstance(part, said.ToolCallPart)]
    return ModelReply(
        text="\n\n".join(text.strip() for text in texts if text.strip()),
        calls=tuple(
            ToolCall(id=part.tool_call_id, name=part.tool_name, arguments=_arguments(part))
            for part in calls[:CALL_LIMIT]
        ),
        usage=Usage(
            model=response.model_name or "unknown",
            input_tokens=response.usage.input_tokens,
            output_tokens=response.usage.output_tokens,
        ),
    )


def _arguments(part: said.ToolCallPart) -> str:
    """Return a call's arguments as the model wrote them: pydantic-ai's own JSON wraps up what was none."""
    return part.args if isinstance(part.args, str) else part.args_as_json_str()


def _ours(error: Exception) -> SubclawError:
    """Translate a provider's error. Its body may repeat the prompt, so only the status and the kind are kept."""
    internal = type(error).__name__
    if isinstance(error, ModelHTTPError):
        internal = f"{error.model_name} answered {error.status_code}"
        match error.status_code:
            case 401:
                return Unauthenticated("The model's key is not accepted.", internal=internal)
            case 403:
                return Denied("The model may not be used with this key.", internal=internal)
            case 402 | 429:
                return Exhausted("The model's account is at its limit.", internal=internal)
            case status if 400 <= status < 500 and status != 408:
                return Invalid("The model did not accept the request.", internal=internal)
    if isinstance(error, ModelAPIError | TimeoutError):
        return Unavailable("The model cannot be reached.", internal=internal)
    return Unavailable("The model's answer could not be used.", internal=internal)
