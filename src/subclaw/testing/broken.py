"""Responses that never arrive as they should: one that breaks off, and one that takes for ever."""

import asyncio

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

DRIP_S = 0.02


class BrokenOff(Response):
    """The first half of a response; then the connection ends."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _begin(self, send)
        half = bytes(self.body)[: len(self.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})


class Dripping(Response):
    """A response that comes byte by byte, so that there is never a silence."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _begin(self, send)
        for byte in bytes(self.body):
            await send({"type": "http.response.body", "body": bytes([byte]), "more_body": True})
            await asyncio.sleep(DRIP_S)
        await send({"type": "http.response.body", "body": b""})


async def _begin(response: Response, send: Send) -> None:
    start = {"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers}
    await send(start)
