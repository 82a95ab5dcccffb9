"""Work that the providers' libraries are spared: what they would do for each request, and changes nothing in it."""

from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.tools import ToolDefinition

UNREAD = ("messages", "tools")
"""What a library is not to look into."""


def send_as_is(endpoint: Any) -> None:
    """Have an endpoint of a provider's library, as `client.beta.messages`, send messages and tools as they are.

    Before it sends a request, Anthropic's library compares each message and tool with the types that it declares, which
    takes a third of a worker's time (https://github.com/anthropics/anthropic-sdk-python/issues/1195). What is given as
    `extra_body` it leaves alone. OpenAI's does the same, and is asked for even less (`openai_chat.py`).
    """
    create = endpoint.create

    def create_as_is(**request: Any) -> Awaitable[Any]:
        unread = {name: request.pop(name) for name in UNREAD if name in request}
        body = {**(request.pop("extra_body", None) or {}), **unread}
        sent: Awaitable[Any] = create(**request, messages=[], extra_body=body)
        return sent

    endpoint.create = create_as_is


def adapt_tools_once(model: Model) -> None:
    """Have a model adapt the tools' schemas to its provider once, as long as it is given the same list of them."""
    adapt = model.customize_request_parameters
    last: tuple[list[ToolDefinition], list[ToolDefinition]] | None = None

    def adapted(model_request_parameters: ModelRequestParameters) -> ModelRequestParameters:
        nonlocal last
        if last is None or last[0] is not model_request_parameters.function_tools:
            last = model_request_parameters.function_tools, adapt(model_request_parameters).function_tools
        return replace(model_request_parameters, function_tools=last[1])

    model.customize_request_parameters = adapted  # type: ignore[method-assign]
