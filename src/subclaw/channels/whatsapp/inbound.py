"""WhatsApp: messages in, and receipts for those that went out, by webhook.

Facts: https://developers.facebook.com/docs/graph-api/webhooks/getting-started. Meta delivers a webhook again for up to
seven days until it is told 200; one may have 3 MB.
"""

import asyncio
import base64
import logging
import re
from collections.abc import Awaitable, Callable

from fastapi import APIRouter
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from subclaw.channels.notices import Notices
from subclaw.channels.whatsapp.countries import is_served
from subclaw.channels.whatsapp.settings import WEBHOOK_PATH, WhatsAppSettings
from subclaw.channels.whatsapp.updates import Report, Unreadable, parse_update, read_update
from subclaw.core.channel import DeliveryReport, DeliveryReports, Intake
from subclaw.core.errors import Invalid, Unavailable
from subclaw.pages.request import media_type, read_body

BODY_LIMIT_BYTES = 3_200_000
LARGE_BYTES = 100_000
LARGE_AT_ONCE = 2
"""Most large webhooks whose signatures are checked at once: whoever sends them is not known before that."""

_RETRY_AFTER_S = 2
_SIGNATURE = re.compile(r"sha256=[0-9a-f]{64}")
_CHALLENGE = re.compile(r"[A-Za-z0-9_.-]{1,256}")
_TOKEN_LIMIT_CHARACTERS = 256

logger = logging.getLogger(__name__)

SignatureCheck = Callable[[str, str], Awaitable[bool]]
"""Tells whether Meta signed a body (in Base64) with a signature. Errors: `Unavailable`, if nobody can be asked."""

TokenCheck = Callable[[str], Awaitable[bool]]
"""Tells whether the verify token is right. Errors: `Unavailable`."""


def whatsapp_router(
    *,
    settings: WhatsAppSettings,
    intake: Intake,
    reports: DeliveryReports,
    check_signature: SignatureCheck,
    check_token: TokenCheck,
    notices: Notices,
    public_url: str,
) -> APIRouter:
    """Return the routes that Meta calls. `public_url` is where people reach their agents in other ways."""
    router, room = APIRouter(include_in_schema=False), asyncio.Semaphore(LARGE_AT_ONCE)

    @router.get(WEBHOOK_PATH)
    async def asked(request: Request) -> Response:
        try:
            return await _answer_challenge(request, check_token)
        except Unavailable:
            return _not_now()

    @router.post(WEBHOOK_PATH)
    async def received(request: Request) -> Response:
        try:
            body = await _signed_body(request, check_signature, room)
            if isinstance(body, Response):
                return body
            said = [await _take(report) for report in parse_update(read_update(body), settings.phone_number_id)]
        except Invalid as error:
            return PlainTextResponse(error.public, status_code=400)
        except Unavailable:
            return _not_now()
        words = [one for one in said if one is not None]
        return Response(status_code=200, background=BackgroundTask(_say, notices, words) if words else None)

    async def _take(report: Report) -> tuple[str, str] | None:
        if isinstance(report, DeliveryReport):
            await reports.report(report)
            return None
        person = report.sender.address
        if not is_served(person, settings.countries):
            return person, elsewhere_words(public_url)
        if isinstance(report, Unreadable):
            return person, report.words
        try:
            await intake.receive(report)
        except Invalid as error:
            return person, error.public
        return None

    return router


def elsewhere_words(public_url: str) -> str:
    """Return what persons are told whose country is not served."""
    return (
        "This is an automatic answer. WhatsApp does not allow assistants like this one in your country, so what you "
        f"write here is neither read nor kept. You find it at {public_url} too."
    )


async def _say(notices: Notices, words: list[tuple[str, str]]) -> None:
    for address, said in words:
        await notices.say(address, said)


async def _answer_challenge(request: Request, check_token: TokenCheck) -> Response:
    """Answer Meta's question whether the webhook is ours: it is asked once, when it is set up."""
    query = request.query_params
    token, challenge = query.get("hub.verify_token", ""), query.get("hub.challenge", "")
    if query.get("hub.mode") != "subscribe" or not _CHALLENGE.fullmatch(challenge):
        return PlainTextResponse("That was not a challenge.", status_code=400)
    if not 0 < len(token) <= _TOKEN_LIMIT_CHARACTERS or not await check_token(token):
        logger.warning("refused a challenge without our verify token")
        return PlainTextResponse("The verify token is wrong.", status_code=403)
    return PlainTextResponse(challenge)


async def _signed_body(request: Request, check: SignatureCheck, room: asyncio.Semaphore) -> bytes | Response:
    """Return the raw body of a webhook that Meta signed, or the refusal. Errors: `Unavailable`, `Invalid`."""
    if media_type(request) != "application/json":
        return PlainTextResponse("That was not JSON.", status_code=415)
    signature = request.headers.get("x-hub-signature-256", "")
    if not _SIGNATURE.fullmatch(signature):
        return _forged()
    body = await read_body(request, limit_bytes=BODY_LIMIT_BYTES)
    if body is None:
        return PlainTextResponse("That is too long.", status_code=413)
    claimed = base64.b64encode(body).decode("ascii")
    if len(body) <= LARGE_BYTES:
        return body if await check(claimed, signature) else _forged()
    async with room:
        return body if await check(claimed, signature) else _forged()


def _forged() -> Response:
    logger.warning("refused what is not signed with the app's secret")
    return PlainTextResponse("The signature is wrong.", status_code=403)


def _not_now() -> Response:
    return PlainTextResponse("Not just now.", status_code=503, headers={"Retry-After": str(_RETRY_AFTER_S)})
