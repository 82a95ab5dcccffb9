"""iMessage: messages in, by webhook. BlueBubbles reports each once, and does not come again; see `listening`."""

import logging
from collections.abc import Awaitable, Callable

from fastapi import APIRouter
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from subclaw.channels.imessage.messages import parse_message, read_report
from subclaw.channels.imessage.settings import WEBHOOK_PATH
from subclaw.channels.notices import Notices
from subclaw.core.channel import Intake
from subclaw.core.errors import Invalid, Unavailable
from subclaw.pages.request import media_type, read_body

BODY_LIMIT_BYTES = 1_000_000
SECRET_LIMIT_CHARACTERS = 256
_RETRY_AFTER_S = 2

logger = logging.getLogger(__name__)

SecretCheck = Callable[[str], Awaitable[bool]]
"""Tells whether the secret in an address is right. Errors: `Unavailable`, if whoever knows it cannot be asked."""


def imessage_router(*, intake: Intake, check_secret: SecretCheck, notices: Notices, name: str) -> APIRouter:
    """Return the route that BlueBubbles calls. `name` is the agent's in groups."""
    router = APIRouter(include_in_schema=False)

    @router.post(WEBHOOK_PATH + "/{secret}")
    async def received(request: Request, secret: str) -> Response:
        try:
            if len(secret) > SECRET_LIMIT_CHARACTERS or not await check_secret(secret):
                logger.warning("refused a webhook without BlueBubbles' secret")
                return PlainTextResponse("The secret is wrong.", status_code=403)
            if media_type(request) != "application/json":
                return PlainTextResponse("That was not JSON.", status_code=415)
            body = await read_body(request, limit_bytes=BODY_LIMIT_BYTES)
            if body is None:
                return PlainTextResponse("That is too long.", status_code=413)
            return await _take(body, intake, notices, name)
        except Unavailable:
            return PlainTextResponse("Not just now.", status_code=503, headers={"Retry-After": str(_RETRY_AFTER_S)})

    return router


async def _take(body: bytes, intake: Intake, notices: Notices, name: str) -> Response:
    try:
        message = parse_message(read_report(body), name)
    except Invalid as error:
        return PlainTextResponse(error.public, status_code=400)
    if message is None:
        return Response(status_code=200)
    try:
        await intake.receive(message)
    except Invalid as error:
        said = BackgroundTask(notices.say, message.sender.address, error.public)
        return Response(status_code=200, background=said)
    return Response(status_code=200)
