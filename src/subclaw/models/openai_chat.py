"""Chat completions by OpenAI's protocol, sent and read by us: its library takes as long for that as all else in a step.

pydantic-ai sees no difference: what it hands over goes out as it is, and the library's own values and errors come back.
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx2
from openai import NOT_GIVEN, APIConnectionError, APIError, APIStatusError, APITimeoutError, AsyncOpenAI, NotGiven, Omit
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import ValidationError
from pydantic_core import to_json

_DONE = "[DONE]"


def send_directly(client: AsyncOpenAI, http: httpx2.AsyncClient) -> None:
    """Have a client of OpenAI's library send chat completions by `http` itself, each once.

    Before it sends one, the library holds each field against its declared type, and makes its headers and its address
    anew (https://github.com/anthropics/anthropic-sdk-python/issues/1195). They are the same for all. Of a stream each
    word costs it as much.
    """
    url = httpx2.URL(f"{str(client.base_url).rstrip('/')}/chat/completions")
    own = {"Accept": "application/json", "Content-Type": "application/json", **client.auth_headers}

    async def create(
        *, extra_headers: Mapping[str, str] | None = None, extra_body: Mapping[str, Any] | None = None, **asked: Any
    ) -> Any:
        timeout = asked.pop("timeout", NOT_GIVEN)
        given = {name: value for name, value in asked.items() if not isinstance(value, Omit | NotGiven)}
        request = http.build_request(
            "POST",
            url,
            content=to_json({**given, **(extra_body or {})}, inf_nan_mode="null"),
            headers={**own, **(extra_headers or {})},
            timeout=client.timeout if isinstance(timeout, NotGiven) else timeout,
        )
        if given.get("stream") is True:
            return _Chunks(await _sent(http, request, stream=True))
        return _read(await _sent(http, request))

    client.chat.completions.create = create  # type: ignore[method-assign, assignment]


class _Chunks:
    """A streamed completion, read as it comes."""

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response

    async def __aenter__(self) -> "_Chunks":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the answer, whatever is left of it."""
        await self._response.aclose()

    async def __aiter__(self) -> AsyncIterator[ChatCompletionChunk]:
        with _as_the_library(self._response.request):
            data = ""
            async for line in self._response.aiter_lines():
                if line.startswith("data:"):
                    data += line.removeprefix("data:").strip()
                elif not line and data:  # an event that is not ended so does not count
                    if data != _DONE:
                        yield _chunk(data, self._response.request)
                    data = ""


def _chunk(data: str, request: httpx2.Request) -> ChatCompletionChunk:
    """Return a chunk; what is only nearly one is returned unchecked. Errors: `APIError` for an error in its place."""
    try:
        return ChatCompletionChunk.model_validate_json(data)
    except ValidationError:
        said = json.loads(data)
        if not isinstance(said, dict) or said.get("error"):
            raise APIError("The stream holds an error.", request, body=said) from None
        return ChatCompletionChunk.construct(**said)


@contextmanager
def _as_the_library(request: httpx2.Request) -> Iterator[None]:
    """Turn what goes wrong into the errors of OpenAI's library."""
    try:
        yield
    except httpx2.TimeoutException as error:
        raise APITimeoutError(request=request) from error
    except httpx2.RequestError as error:
        raise APIConnectionError(request=request) from error


async def _sent(http: httpx2.AsyncClient, request: httpx2.Request, *, stream: bool = False) -> httpx2.Response:
    """Send a request once. Errors: those of OpenAI's library."""
    with _as_the_library(request):
        response = await http.send(request, stream=stream)
        if stream and not response.is_success:
            await response.aread()
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
