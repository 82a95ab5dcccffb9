"""Serving: the requests of one connection, one after the other, each answered or refused, whatever happens."""

import asyncio
import contextlib
import logging
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

from subclaw.core.errors import Corrupt, Denied, NotFound, Unavailable
from subclaw.egress.http.door import Door
from subclaw.egress.http.exchange import Record
from subclaw.egress.http.request import Request
from subclaw.egress.refusal import Refusal

_log = logging.getLogger(__name__)

Answer = Callable[[Door, Request, Record], Awaitable[bool]]
"""Answers a request, and returns whether the connection can carry another. It may raise `Refusal`."""

Report = Callable[[Record, float, str], None]
"""Takes what is known of a request that is over, the seconds that it took, and what went wrong, if anything."""


async def serve_requests(door: Door, answer: Answer, report: Report) -> None:
    """Serve a connection's requests until it ends, and end it in good order."""
    task = _this_task()
    while await _serve_request(door, answer, report, task):
        pass
    await door.linger()


async def _serve_request(door: Door, answer: Answer, report: Report, task: asyncio.Task[object]) -> bool:
    """Serve one request; return whether the connection can carry another."""
    record, started_s = Record(), time.monotonic()
    try:
        request = await door.request()
        started_s = time.monotonic()
        if request is None or door.wire.ended:
            return False
        # A client that goes away ends its call to the upstream, also while that is silent.
        door.wire.on_end = task.cancel
        goes_on = await answer(door, request, record)
    except asyncio.CancelledError:
        door.wire.abort()
        report(record, time.monotonic() - started_s, "cut")
        raise
    except (ConnectionError, TimeoutError):
        door.wire.abort()
        report(record, time.monotonic() - started_s, "the client is gone or takes nothing")
        return False
    except Exception as error:  # one request must not end the gateway
        refusal = as_refusal(error)
        await _refuse(door, refusal, record)
        report(record, time.monotonic() - started_s, refusal.internal)
        return False
    finally:
        door.wire.on_end = None
    report(record, time.monotonic() - started_s, "")
    return goes_on


async def _refuse(door: Door, refusal: Refusal, record: Record) -> None:
    if door.begun:  # an answer that breaks off must look like one
        door.wire.abort()
        return
    record.status = refusal.status
    with contextlib.suppress(ConnectionError, TimeoutError):
        await door.refuse(refusal)


def as_refusal(error: Exception) -> Refusal:
    """Translate what went wrong for the client. The log gets a kind and a place, never an exception's own words."""
    match error:
        case Refusal():
            return error
        case NotFound() | Denied():
            return Refusal(403, error.public)
        case Unavailable():
            return Refusal(503, error.public)
        case Corrupt():
            return Refusal(500, error.public)
        case _:
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
            _log.error("a request failed: %s", where)
            return Refusal(500, "the gateway failed", internal=where)


def _this_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a connection is served by a task")
    return task
