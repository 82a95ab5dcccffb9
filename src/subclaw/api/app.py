"""The web application: routers put together, health, and our errors as HTTP's."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.requests import ClientDisconnect

from subclaw.core.errors import SubclawError
from subclaw.statuses import status_of

RETRY_AFTER_S = 5


def make_app(
    routers: Sequence[APIRouter], *, check: Callable[[], Awaitable[object]], below: Mapping[str, FastAPI] | None = None
) -> FastAPI:
    """Return the application. `check` raises `Unavailable` if the control plane cannot do its work.

    Applications `below` a path answer all that is there.
    """
    app = FastAPI(title="subclaw", docs_url=None, redoc_url=None, openapi_url=None)
    for path, application in (below or {}).items():
        app.mount(path, application)
    for router in routers:
        app.include_router(router)

    @app.get("/healthz")
    async def healthz() -> Response:
        await check()
        return PlainTextResponse("ok\n")

    @app.exception_handler(SubclawError)
    async def explain(request: Request, error: SubclawError) -> JSONResponse:
        status = status_of(error)
        headers = {"Retry-After": str(RETRY_AFTER_S)} if status in (429, 503) else {}
        return JSONResponse({"error": error.public}, status_code=status, headers=headers)

    @app.exception_handler(ClientDisconnect)
    async def forget(request: Request, error: ClientDisconnect) -> Response:
        """Whoever asked has gone in the middle of asking: nobody reads the answer, and the log need not tell."""
        return Response(status_code=400)

    return app
