"""Requests that go out as they are.

Before they send a request, the libraries of OpenAI and Anthropic compare each message and tool with the types that they
declare. That changes nothing in ours and takes a third of a worker's time
(https://github.com/anthropics/anthropic-sdk-python/issues/1195); what is given as `extra_body` they leave alone.
"""

from collections.abc import Awaitable
from typing import Any

UNREAD = ("messages", "tools")
"""What a library is not to look into."""


def send_as_is(endpoint: Any) -> None:
    """Have an endpoint of a provider's library, as `client.chat.completions`, send messages and tools as they are."""
    create = endpoint.create

    def create_as_is(**request: Any) -> Awaitable[Any]:
        unread = {name: request.pop(name) for name in UNREAD if name in request}
        body = {**(request.pop("extra_body", None) or {}), **unread}
        sent: Awaitable[Any] = create(**request, messages=[], extra_body=body)
        return sent

    endpoint.create = create_as_is
