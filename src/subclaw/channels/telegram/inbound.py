"""Telegram: messages in, by webhook.

Facts: https://core.telegram.org/bots/api#setwebhook. Telegram delivers an update again, with the same id, until it
is told 2xx, and the updates of one chat one after the other.
"""

import logging
from collections.abc import Awaitable, Callable

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from subclaw.channels.telegram.settings import WEBHOOK_PATH
from subclaw.channels.telegram.updates import NotForUs, parse_update, read_update
from subclaw.core.channel import Intake
from subclaw.core.errors import Invalid, Unavailable
from subclaw.pages.request import media_type, read_body

BODY_LIMIT_BYTES = 1_000_000
SECRET_LIMIT_CHARACTERS = 256
_RETRY_AFTER_S = 2

logger = logging.getLogger(__name__)

SecretCheck = Callable[[str], Awaitable[bool]]
"""Tells whether Telegram's secret is right. Errors: `Unavailable`, if whoever knows it cannot be asked."""


def telegram_router(*, intake: Intake, check_secret: SecretCheck, bot: str) -> APIRouter:
    """Return the route that Telegram calls. `bot` is the bot's user name."""
    router = APIRouter(include_in_schema=False)

    @router.post(WEBHOOK_PATH)
    async def received(request: Request) -> Response:
        secret = request.headers.get("x-telegram-bot-api-secret-token", "")
        try:
            if not 0 < len(secret) <= SECRET_LIMIT_CHARACTERS or not await check_secret(secret):
                logger.warning("refused an update without Telegram's secret")
                return PlainTextResponse("The secret is wrong.", status_code=403)
            if media_type(request) != "application/json":
                return PlainTextResponse("That was not JSON.", status_code=415)
            body = await read_body(request, limit_bytes=BODY_LIMIT_BYTES)
            if body is None:
                return PlainTextResponse("That is too long.", status_code=413)
            return await _take(body, intake, bot)
        except Unavailable:
            return PlainTextResponse("Not just now.", status_code=503, headers={"Retry-After": str(_RETRY_AFTER_S)})

    return router


async def _take(body: bytes, intake: Intake, bot: str) -> Response:
    """Hand a message in, and acknowledge it; what is refused is answered at once, with the acknowledgement."""
    try:
        update = read_update(body)
    except Invalid as error:
        return PlainTextResponse(error.public, status_code=400)
    message = parse_update(update, bot)
    if isinstance(message, NotForUs):
        return _said(message.chat_id, message.words)
    try:
        await intake.receive(message)
    except Invalid as error:
        return _said(int(message.sender.address), error.public)
    return Response(status_code=200)


def _said(chat_id: int, words: str) -> Response:
    """Return an acknowledgement with an answer in it (Telegram calls this a request in response to an update)."""
    if not words:
        return Response(status_code=200)
    return JSONResponse({"method": "sendMessage", "chat_id": chat_id, "text": words})
