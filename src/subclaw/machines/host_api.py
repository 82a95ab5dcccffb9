"""The host's API: `Machines` over HTTP, on a unix socket that only the control plane can open."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing
from dataclasses import asdict
from typing import Any, TypeVar, cast

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from subclaw.core.errors import Invalid, SubclawError
from subclaw.core.house import FILE_LIMIT_BYTES
from subclaw.core.machine import Command, CommandEnd, Machines, Output
from subclaw.core.tenant import TenantId
from subclaw.machines.call_limits import CallCount, Counted
from subclaw.machines.limits import CONTENT_LIMIT_BYTES
from subclaw.machines.wire import LEFT_OUT, checkpoint_fields, error_fields, last_record, record
from subclaw.statuses import status_of

ARGUMENTS_LIMIT_BYTES = 1024**2
T = TypeVar("T")

logger = logging.getLogger(__name__)


def host_api(machines: Machines, count: CallCount | None = None) -> Starlette:
    """Return the application. A caller that goes away has its call cancelled; `count` bounds the calls under way."""
    calls = {
        "exec": exec,
        "read": read,
        "search": search,
        "archive": archive,
        "forward": forward,
        "try-port": try_port,
        "wake": wake,
        "checkpoint": checkpoint,
        "checkpoints": checkpoints,
        "roll-back": roll_back,
        "sync-house": sync_house,
        "stats": stats,
    }
    # Not counted, so that a machine that is asked too much can be stopped.
    ends = {"sleep": sleep, "destroy": destroy}
    counted = [Middleware(Counted, count=count or CallCount())]
    path = "/v1/tenants/{tenant:int}"
    routes = [
        *(Route(f"{path}/{name}", call, methods=["POST"], middleware=counted) for name, call in calls.items()),
        *(Route(f"{path}/{name}", call, methods=["POST"]) for name, call in ends.items()),
        Route(f"{path}/write", write, methods=["PUT"], middleware=counted),
        Route(f"{path}/house", write_house, methods=["PUT", "DELETE"], middleware=counted),
        Route("/v1/machines", statuses, methods=["GET"]),
    ]
    application = Starlette(routes=routes, exception_handlers={SubclawError: answer_error})
    application.state.machines = machines
    return application


async def answer_error(request: Request, error: Exception) -> Response:
    """Answer with an error's class and public message; log the internal one."""
    assert isinstance(error, SubclawError)
    logger.info("%s: %s: %s", request.url.path, type(error).__name__, error.internal)
    return JSONResponse(error_fields(error), status_code=status_of(error))


async def exec(request: Request) -> Response:
    """Run a command and stream its output as records; see `wire`."""
    fields = await arguments(request)
    command = Command(
        text=text(fields, "text"),
        timeout_s=number(fields, "timeout_s"),
        output_limit_bytes=whole(fields, "output_limit_bytes"),
        environment=texts(fields, "environment"),
    )
    return await streamed(request, command_records(machines_of(request).exec(tenant_of(request), command)))


async def command_records(pieces: AsyncGenerator[Output | CommandEnd, None]) -> AsyncGenerator[bytes, None]:
    """Frame a command's output, and how it ended."""
    async with aclosing(pieces):
        async for piece in pieces:
            if isinstance(piece, CommandEnd):
                yield last_record(asdict(piece))
            else:
                yield record(LEFT_OUT.pack(piece.left_out_bytes) + piece.content)


async def read(request: Request) -> Response:
    """Read a part of a file: the raw content, with the file's size in a header."""
    fields = await arguments(request)
    slice_ = await while_connected(
        request,
        machines_of(request).read(
            tenant_of(request),
            text(fields, "path"),
            offset_bytes=whole(fields, "offset_bytes"),
            limit_bytes=whole(fields, "limit_bytes"),
        ),
    )
    return Response(slice_.content, headers={"x-size-bytes": str(slice_.size_bytes)})


async def write(request: Request) -> Response:
    """Write the raw body to the file that the query names."""
    content = await body(request, CONTENT_LIMIT_BYTES)
    path = request.query_params.get("path", "")
    await while_connected(request, machines_of(request).write(tenant_of(request), path, content))
    return Response(status_code=204)


async def search(request: Request) -> Response:
    """Search file contents."""
    fields = await arguments(request)
    found = await while_connected(
        request,
        machines_of(request).search(
            tenant_of(request), text(fields, "pattern"), text(fields, "path"), limit=whole(fields, "limit")
        ),
    )
    return JSONResponse(asdict(found))


async def archive(request: Request) -> Response:
    """Stream a folder as records; see `wire`."""
    fields = await arguments(request)
    pieces = machines_of(request).archive(
        tenant_of(request), text(fields, "path"), limit_bytes=whole(fields, "limit_bytes")
    )
    # An async generator, whatever the port calls it, so that it can be closed when the caller goes away.
    return await streamed(request, archive_records(cast(AsyncGenerator[bytes, None], pieces)))


async def archive_records(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Frame an archive, and that it is whole."""
    async with aclosing(pieces):
        async for piece in pieces:
            yield record(piece)
    yield last_record({})


async def streamed(request: Request, framed: AsyncGenerator[bytes, None]) -> Response:
    """Answer with a stream of records. Errors before the first are answered like any other."""
    try:
        first = await while_connected(request, anext(framed))
    except BaseException:
        await framed.aclose()
        raise
    return StreamingResponse(beginning_with(first, framed), media_type="application/octet-stream")


async def beginning_with(first: bytes, framed: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    """Yield all records, the last of which may be an error."""
    async with aclosing(framed):
        try:
            yield first
            async for framed_piece in framed:
                yield framed_piece
        except SubclawError as error:
            yield last_record(error_fields(error))


async def forward(request: Request) -> Response:
    """Return an address that leads to a port inside."""
    port = whole(await arguments(request), "port")
    return JSONResponse({"address": await machines_of(request).forward(tenant_of(request), port)})


async def try_port(request: Request) -> Response:
    """Ask the program on a port inside for its first page."""
    fields = await arguments(request)
    trial = machines_of(request).try_port(tenant_of(request), whole(fields, "port"), text(fields, "hostname"))
    return JSONResponse(asdict(await while_connected(request, trial)))


async def wake(request: Request) -> Response:
    """Start a machine if it sleeps."""
    await arguments(request)
    await while_connected(request, machines_of(request).wake(tenant_of(request)))
    return Response(status_code=204)


async def checkpoint(request: Request) -> Response:
    """Keep a copy of a disk. It is made whether or not the caller waits for it."""
    label = text(await arguments(request), "label")
    return JSONResponse(checkpoint_fields(await machines_of(request).checkpoint(tenant_of(request), label)))


async def checkpoints(request: Request) -> Response:
    """List the copies of a disk."""
    return JSONResponse(list(map(checkpoint_fields, await machines_of(request).checkpoints(tenant_of(request)))))


async def roll_back(request: Request) -> Response:
    """Give a machine the disk of a checkpoint, whether or not the caller waits for it."""
    label = text(await arguments(request), "label")
    await machines_of(request).roll_back(tenant_of(request), label)
    return Response(status_code=204)


async def sync_house(request: Request) -> Response:
    """Bring the mirror of a house up to date, whether or not the caller waits for it."""
    return JSONResponse({"is_awake": await machines_of(request).sync_house(tenant_of(request))})


async def write_house(request: Request) -> Response:
    """Write the raw body to the file of a house that the query names, or remove that (DELETE)."""
    content = await body(request, FILE_LIMIT_BYTES)
    path = request.query_params.get("path", "")
    written = None if request.method == "DELETE" else content
    await machines_of(request).write_house(tenant_of(request), path, written)
    return Response(status_code=204)


async def stats(request: Request) -> Response:
    """Say what a machine is and uses."""
    return JSONResponse(asdict(await machines_of(request).stats(tenant_of(request))))


async def sleep(request: Request) -> Response:
    """Put a machine to sleep."""
    await machines_of(request).sleep(tenant_of(request))
    return Response(status_code=204)


async def destroy(request: Request) -> Response:
    """Stop a machine and erase its disk."""
    await machines_of(request).destroy(tenant_of(request))
    return Response(status_code=204)


async def statuses(request: Request) -> Response:
    """List the machines that are awake."""
    return JSONResponse([asdict(status) for status in await machines_of(request).statuses()])


def machines_of(request: Request) -> Machines:
    """Return what the application was made with."""
    return cast(Machines, request.app.state.machines)


def tenant_of(request: Request) -> TenantId:
    """Return whose machine a request is about. Raises `Invalid`."""
    tenant = int(request.path_params["tenant"])
    if not 0 < tenant < 2**63:
        raise Invalid("There can be no such tenant.")
    return TenantId(tenant)


async def body(request: Request, limit_bytes: int) -> bytes:
    """Read a request's body. Raises `Invalid` if it is too large."""
    content = bytearray()
    async for piece in request.stream():
        content += piece
        if len(content) > limit_bytes:
            raise Invalid(f"That is larger than {limit_bytes} bytes.")
    return bytes(content)


async def arguments(request: Request) -> dict[str, Any]:
    """Read a request's JSON object. Raises `Invalid`."""
    try:
        fields = json.loads(await body(request, ARGUMENTS_LIMIT_BYTES))
    except (ValueError, RecursionError) as error:
        raise Invalid("The arguments are not JSON.") from error
    if not isinstance(fields, dict):
        raise Invalid("The arguments are not an object.")
    return fields


def text(fields: dict[str, Any], name: str) -> str:
    """Return a string argument. Raises `Invalid`."""
    value = fields.get(name)
    if not isinstance(value, str):
        raise Invalid(f"{name} must be text.")
    return value


def texts(fields: dict[str, Any], name: str) -> dict[str, str]:
    """Return strings by their names; none if the argument is not there. Raises `Invalid`."""
    values = fields.get(name, {})
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise Invalid(f"{name} must be texts by their names.")
    return values


def whole(fields: dict[str, Any], name: str) -> int:
    """Return a whole number. Raises `Invalid`."""
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Invalid(f"{name} must be a whole number.")
    return value


def number(fields: dict[str, Any], name: str) -> float:
    """Return a number. Raises `Invalid`."""
    value = fields.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise Invalid(f"{name} must be a number.")
    return float(value)


async def while_connected(request: Request, call: Awaitable[T]) -> T:
    """Await a call, cancelling it when the caller goes away: nobody is there to be told how it ended."""
    calling = asyncio.ensure_future(call)
    leaving = asyncio.ensure_future(gone(request))
    try:
        await asyncio.wait([calling, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not calling.done():
            raise Invalid("The caller has gone.")
        return calling.result()
    finally:
        calling.cancel()
        leaving.cancel()
        await asyncio.wait([calling, leaving])


async def gone(request: Request) -> None:
    """Wait until the caller has closed its connection. The body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
