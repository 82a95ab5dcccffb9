"""A real server behind the router: uvicorn on a unix socket, with a page, an event stream and a web socket."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket


class Upstream:
    """What the server saw, and the levers of its event stream."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.next_event: asyncio.Queue[str] = asyncio.Queue(maxsize=10)
        self.stream_left = asyncio.Event()
        self.posts = 0
        self.requests = 0
        self.refuses = False
        self.app = Starlette(
            routes=[
                Route("/events", self._events),
                Route("/post", self._post, methods=["POST"]),
                WebSocketRoute("/socket", self._socket),
                Route("/{path:path}", self._page),
            ]
        )

    async def _page(self, request: Request) -> Response:
        told = {"name": self.name, "path": request.url.path, **dict(request.headers)}
        headers = {
            "/dated": {"Last-Modified": request.headers.get("if-modified-since", "never")},
            "/strict": {"Strict-Transport-Security": "max-age=1"},
        }
        return JSONResponse(told, 403 if self.refuses else 200, headers.get(told["path"], {}))

    async def _post(self, request: Request) -> Response:
        self.posts += 1
        return JSONResponse({"size_bytes": len(await request.body())})

    async def _events(self, request: Request) -> Response:
        async def events() -> AsyncIterator[bytes]:
            try:
                while True:
                    yield f"data: {json.dumps(await self.next_event.get())}\n\n".encode()
            finally:
                self.stream_left.set()

        return StreamingResponse(events(), media_type="text/event-stream")

    async def _socket(self, socket: WebSocket) -> None:
        await socket.accept()
        async for text in socket.iter_text():
            await socket.send_text(f"{self.name}: {text}")


class _Server(uvicorn.Server):
    """A server that leaves the process's signals to the tests."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


@contextlib.asynccontextmanager
async def upstream(socket: Path, name: str) -> AsyncIterator[Upstream]:
    """Serve at a unix socket that everybody may use."""
    serving = Upstream(name)

    async def counted(scope: Any, receive: Any, send: Any) -> None:
        serving.requests += 1
        await serving.app(scope, receive, send)

    async with served(socket, counted):
        yield serving


@contextlib.asynccontextmanager
async def served(socket: Path, app: Any) -> AsyncIterator[None]:
    """Serve an application at a unix socket that everybody may use."""
    config = uvicorn.Config(
        app,
        uds=str(socket),
        log_level="critical",
        ws="websockets-sansio",
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    async with asyncio.TaskGroup() as group, asyncio.timeout(60):
        task = group.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.005)
        await asyncio.to_thread(socket.chmod, 0o777)
        try:
            yield
        finally:
            server.should_exit = True
            await task
