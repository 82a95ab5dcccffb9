"""Bounds of what a provider may send: an answer without end must not fill the memory."""

from collections.abc import AsyncIterator

import httpx2

ANSWER_LIMIT_BYTES = 8 * 1024 * 1024
"""Longest answer that is read. One of 8,192 tokens has some tens of kilobytes."""


def bound_answers(client: httpx2.AsyncClient) -> None:
    """Have a client break off answers that are too long; whoever reads them gets an `httpx2.RemoteProtocolError`."""
    if _bound not in client.event_hooks["response"]:
        client.event_hooks = {**client.event_hooks, "response": [*client.event_hooks["response"], _bound]}


async def _bound(response: httpx2.Response) -> None:
    said = response.headers.get("content-length", "")
    if said.isascii() and said.isdecimal() and int(said) <= ANSWER_LIMIT_BYTES:
        return  # the gateway lets through no more than an answer says of itself
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _Bounded(response.stream)


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received_bytes = 0
        async for piece in self._stream:
            received_bytes += len(piece)
            if received_bytes > ANSWER_LIMIT_BYTES:
                raise httpx2.RemoteProtocolError(f"an answer of more than {ANSWER_LIMIT_BYTES:,} bytes")
            yield piece

    async def aclose(self) -> None:
        """End the answer, whatever is left of it."""
        await self._stream.aclose()
