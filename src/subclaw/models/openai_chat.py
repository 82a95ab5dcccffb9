"""Chat completions by OpenAI's protocol, sent and read by us: its library takes as long for that as all else in a step.

pydantic-ai sees no difference: what it hands over goes out as it is, and the library's own values and errors come back.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx2
from openai import NOT_GIVEN, APIConnectionError, APIStatusError, APITimeoutError, AsyncOpenAI, NotGiven, Omit
from openai.types.chat import ChatCompletion
from pydantic import ValidationError
from pydantic_core import to_json


def send_directly(client: AsyncOpenAI, http: httpx2.AsyncClient) -> None:
    """Have a client of OpenAI's library send chat completions by `http` itself, each once.

    Before it sends one, the library holds each field against its declared type, and makes its headers and its address
    anew (https://github.com/anthropics/anthropic-sdk-python/issues/1195). They are the same for all. Those that are
    streamed, since somebody listens, are few, and left to it.
    """
    streamed: Callable[..., Awaitable[Any]] = client.chat.completions.create
    url = httpx2.URL(f"{str(client.base_url).rstrip('/')}/chat/completions")
    own = {"Accept": "application/json", "Content-Type": "application/json", **client.auth_headers}

    async def create(
        *, extra_headers: Mapping[str, str] | None = None, extra_body: Mapping[str, Any] | None = None, **asked: Any
    ) -> Any:
        if asked.get("stream") is True:
            return await streamed(extra_headers=extra_headers, extra_body=extra_body, **asked)
        timeout = asked.pop("timeout", NOT_GIVEN)
        given = {name: value for name, value in asked.items() if not isinstance(value, Omit | NotGiven)}
        request = http.build_request(
            "POST",
            url,
            content=to_json({**given, **(extra_body or {})}, inf_nan_mode="null"),
            headers={**own, **(extra_headers or {})},
            timeout=client.timeout if isinstance(timeout, NotGiven) else timeout,
        )
        return _read(await _sent(http, request))

    client.chat.completions.create = create  # type: ignore[method-assign, assignment]


async def _sent(http: httpx2.AsyncClient, request: httpx2.Request) -> httpx2.Response:
    """Send a request once. Errors: those of OpenAI's library."""
    try:
        response = await http.send(request)
    except httpx2.TimeoutException as error:
        raise APITimeoutError(request=request) from error
    except httpx2.RequestError as error:
        raise APIConnectionError(request=request) from error
    if not response.is_success:
        said = _said(response)
        words = said.get("message") if isinstance(said, Mapping) else None
        told = f"Error code: {response.status_code}{f' - {words}' if isinstance(words, str) and words else ''}"
        raise APIStatusError(told, response=response, body=said)
    return response


def _said(response: httpx2.Response) -> object:
    """Return what a refusal says: its `error` if it is of the protocol."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return response.text
    return body.get("error", body) if isinstance(body, Mapping) else body


def _read(response: httpx2.Response) -> Any:
    """Return a completion; what is none, or only nearly one, is returned unchecked, as the library does."""
    try:
        return ChatCompletion.model_validate_json(response.content)
    except ValidationError:
        body = response.json()
        return ChatCompletion.construct(**body) if isinstance(body, dict) else body
