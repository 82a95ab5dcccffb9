"""A route of the API: its body is bounded, a POST can be made again by its name, what goes wrong is a problem."""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from subclaw.api.v1.access import principal_of
from subclaw.api.v1.inside import inside_of
from subclaw.api.v1.problems import MEDIA_TYPE, problem, problem_of, problem_of_http, problem_of_request
from subclaw.core.api_key import Principal
from subclaw.core.errors import Conflict, Invalid, SubclawError
from subclaw.pages.request import read_body
from subclaw.store.api_calls import Outcome, begin_call, end_call, forget_call

BODY_LIMIT_BYTES = 1_000_000
REPLAYED_HEADER = "Idempotent-Replayed"
_NAME = re.compile(r"[\x21-\x7e]{1,255}")
log = logging.getLogger(__name__)

Handle = Callable[[Request], Coroutine[Any, Any, Response]]


class TooLarge(Exception):
    """A body is longer than it may be."""


class _Bounded(Request):
    """A request whose body is read no further than it may be long."""

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            body = await read_body(self, limit_bytes=BODY_LIMIT_BYTES)
            if body is None:
                raise TooLarge
            self._body = body
        return self._body


class ApiRoute(APIRoute):
    """See above. `Idempotency-Key` is by draft-ietf-httpapi-idempotency-key-header."""

    def get_route_handler(self) -> Handle:
        """Wrap FastAPI's handler."""
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            bounded = _Bounded(request.scope, request.receive)
            try:
                await principal_of(bounded)  # before anything is read of a body
                await bounded.body()  # here, since FastAPI takes whatever goes wrong in it for bad JSON
                if bounded.method == "POST" and "idempotency-key" in bounded.headers:
                    return await _once(bounded, handle)
                return await handle(bounded)
            except TooLarge:
                return problem(413, f"A body has at most {BODY_LIMIT_BYTES:,} bytes.", headers={"Connection": "close"})
            except SubclawError as error:
                return problem_of(error)
            except RequestValidationError as error:
                return problem_of_request(error)
            except HTTPException as error:
                return problem_of_http(error)

        return guarded


class CompatibleRoute(ApiRoute):
    """A route whose problems are told as OpenAI's API tells them, too: its clients look for `error` alone."""

    def get_route_handler(self) -> Handle:
        """Wrap the handler."""
        handle = super().get_route_handler()

        async def told(request: Request) -> Response:
            response = await handle(request)
            if response.media_type != MEDIA_TYPE:
                return response
            said = json.loads(bytes(response.body))
            said["error"] = {"message": said["detail"], "type": said["title"], "code": None, "param": None}
            kept = {
                name: value for name, value in response.headers.items() if name in ("retry-after", "www-authenticate")
            }
            return Response(json.dumps(said), response.status_code, headers=kept, media_type="application/json")

        return told


async def _once(request: Request, handle: Handle) -> Response:
    """Perform a call, or answer as it was answered. Errors: `Conflict`, `Invalid`, and the call's own."""
    name, principal = request.headers["idempotency-key"], await principal_of(request)
    if not _NAME.fullmatch(name):
        raise Invalid("An Idempotency-Key has 1 to 255 visible characters of ASCII.")
    request.state.idempotency_key = stored = _stored_name(principal, name)
    hashed = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode())
    hashed.update(await request.body())
    database = inside_of(request).database
    begun = await begin_call(database, principal.key_id, stored, hashed.digest())
    match begun.outcome:
        case Outcome.OTHER:
            raise Invalid("This Idempotency-Key stood for another request. Give each request a key of its own.")
        case Outcome.BUSY:
            raise Conflict("The same request is under way. Wait for its answer.")
        case Outcome.KEPT:
            headers = {REPLAYED_HEADER: "true"}
            return Response(begun.body, begun.status, headers=headers, media_type="application/json")
    try:
        response = await handle(request)
    except BaseException:
        await forget_call(database, principal.key_id, stored)
        raise
    await _keep(request, principal, stored, response)
    return response


async def _keep(request: Request, principal: Principal, name: str, response: Response) -> None:
    """Keep an answer. What failed can be made again, and so can what has `is_repeatable` set, or streams."""
    database = inside_of(request).database
    is_repeatable = isinstance(response, StreamingResponse) or getattr(request.state, "is_repeatable", False)
    if is_repeatable or response.status_code >= 300:
        await forget_call(database, principal.key_id, name)
        return
    without_secrets: dict[str, Any] | None = getattr(request.state, "kept_answer", None)
    body = bytes(response.body) if without_secrets is None else json.dumps(without_secrets).encode()
    tenant_id = getattr(request.state, "tenant_id", None)
    await end_call(database, principal.key_id, name, status=response.status_code, body=body, tenant_id=tenant_id)


def _stored_name(principal: Principal, name: str) -> str:
    """Return a call's name as it is kept: customers' browsers, which share a key, each have names of their own."""
    return f"{principal.session or ''} {name}"


async def forgotten(request: Request, error: Exception) -> Response:
    """Answer whoever has gone in the middle of asking: nobody reads it."""
    assert isinstance(error, ClientDisconnect)
    return Response(status_code=400)
