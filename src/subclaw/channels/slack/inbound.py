"""Slack: events in, by webhook.

Facts: https://docs.slack.dev/apis/events-api/using-http-request-urls. Slack waits for three seconds, and delivers an
event that was not taken three times again: at once, after a minute, after five.
"""

import logging
from collections.abc import Awaitable, Callable

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from subclaw.channels.slack.events import Challenge, NotForUs, parse_event
from subclaw.channels.slack.settings import WEBHOOK_PATH, SlackSettings
from subclaw.core.channel import Intake
from subclaw.core.errors import Invalid, Unavailable
from subclaw.pages.request import media_type, read_body

BODY_LIMIT_BYTES = 200_000
_HEADER_LIMIT_CHARACTERS = 128
_RETRY_AFTER_S = 2
_FOR_EVER = {"X-Slack-No-Retry": "1"}

logger = logging.getLogger(__name__)

SignatureCheck = Callable[[str, str, str], Awaitable[bool]]
"""Tells whether Slack signed a request: its body as it came, `X-Slack-Request-Timestamp`, `X-Slack-Signature`.

Errors: `Unavailable`, if whoever holds the secret cannot be asked; `Invalid` for what cannot be checked.
"""


def slack_router(*, intake: Intake, check_signature: SignatureCheck, settings: SlackSettings) -> APIRouter:
    """Return the route that Slack calls."""
    router = APIRouter(include_in_schema=False)

    @router.post(WEBHOOK_PATH)
    async def received(request: Request) -> Response:
        try:
            body = await _signed_body(request, check_signature)
            return body if isinstance(body, Response) else await _take(body, intake, settings)
        except Unavailable:
            return PlainTextResponse("Not just now.", status_code=503, headers={"Retry-After": str(_RETRY_AFTER_S)})

    return router


async def _signed_body(request: Request, check_signature: SignatureCheck) -> bytes | Response:
    """Return the body of a request that Slack signed, or the refusal. Errors: `Unavailable`."""
    if media_type(request) != "application/json":
        return _refusal(415, "That was not JSON.")
    body = await read_body(request, limit_bytes=BODY_LIMIT_BYTES)
    if body is None:
        return _refusal(413, "That is too long.")
    timestamp, signature = (request.headers.get(f"x-slack-{name}", "") for name in ("request-timestamp", "signature"))
    if max(len(timestamp), len(signature)) <= _HEADER_LIMIT_CHARACTERS and timestamp and signature:
        try:
            if await check_signature(body.decode("utf-8"), timestamp, signature):
                return body
        except (UnicodeDecodeError, Invalid):
            return _refusal(400, "That cannot be checked.")
    logger.warning("refused what Slack did not sign, or not in the last minutes (is SLACK_SIGNING_SECRET right?)")
    return _refusal(403, "The signature is wrong.")


def _refusal(status: int, words: str) -> Response:
    return PlainTextResponse(words, status_code=status, headers=_FOR_EVER)


async def _take(body: bytes, intake: Intake, settings: SlackSettings) -> Response:
    """Hand a message in, and acknowledge it; so too what is refused, since it would be refused for ever."""
    try:
        told = parse_event(body, settings)
    except Invalid as error:
        return _refusal(400, error.public)
    match told:
        case Challenge(answer=answer):
            return JSONResponse({"challenge": answer})
        case NotForUs(warning=warning):
            if warning:
                logger.warning("%s", warning)
        case message:
            try:
                await intake.receive(message)
            except Invalid as error:
                logger.info("a message was refused: %s", error.internal)
    return Response(status_code=200)
