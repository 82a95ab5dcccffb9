"""The API's application: its routes, its document, and errors as problems."""

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from subclaw.api.v1.accounts import accounts_router
from subclaw.api.v1.agents import agents_router
from subclaw.api.v1.approvals import approvals_router
from subclaw.api.v1.compatible import compatible_router
from subclaw.api.v1.customers import customers_router
from subclaw.api.v1.events import events_router
from subclaw.api.v1.hooks import hooks_router
from subclaw.api.v1.inside import Inside
from subclaw.api.v1.problems import problem_of, problem_of_http, problem_of_request
from subclaw.api.v1.route import REPLAYED_HEADER, forgotten
from subclaw.api.v1.schedules import schedules_router
from subclaw.core.errors import SubclawError

PATH = "/v1"
ABOUT = """
Talk to an agent on behalf of your customers.

Open a **session** for a customer with an agent, say something in it, and follow its **events**. What your server binds
to a session, the agent's tools are given; the model never sees it.

* Show an API key: `Authorization: Bearer sck_…`. It has scopes, and may be for some agents only.
* Any `POST` takes an `Idempotency-Key`: for 24 hours the same request has the same answer, and is performed once.
* Lists come in pages: give `next` of one page as `cursor` for the next.
* Errors are problem details (RFC 9457), whose `detail` says in words what is wrong. With 429 and 503, `Retry-After`
  says how many seconds to wait.
"""


def make_api(inside: Inside) -> FastAPI:
    """Return the application, to be mounted at `PATH`."""
    app = FastAPI(
        title="subclaw", version="1", description=ABOUT, docs_url=None, redoc_url=None, openapi_url="/openapi.json"
    )
    app.state.inside, app.state.waiting = inside, 0
    routers = (agents_router(), events_router(), approvals_router(), schedules_router(), customers_router())
    for router in (*routers, accounts_router(), hooks_router(), compatible_router()):
        app.include_router(router)
    # No cookie counts here: whoever holds a token may show it from any page, and a page without one learns nothing.
    app.add_middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID"],
        expose_headers=["Retry-After", REPLAYED_HEADER],
        max_age=3_600,
    )
    _add_handlers(app)
    return app


def _add_handlers(app: FastAPI) -> None:
    """Answer what goes wrong outside of a route, where there is none, in the same form."""

    @app.exception_handler(SubclawError)
    async def explain(request: Request, error: SubclawError) -> Response:
        return problem_of(error)

    @app.exception_handler(RequestValidationError)
    async def explain_request(request: Request, error: RequestValidationError) -> Response:
        return problem_of_request(error)

    @app.exception_handler(HTTPException)
    async def explain_http(request: Request, error: HTTPException) -> Response:
        return problem_of_http(error)

    app.add_exception_handler(ClientDisconnect, forgotten)
