"""SMS by Twilio: messages in by webhook.

Facts: https://www.twilio.com/docs/usage/security (signatures), https://www.twilio.com/docs/messaging/guides/webhook-request.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from twilio.twiml.messaging_response import MessagingResponse  # type: ignore[import-untyped]

from subclaw.channels.sms_text import is_reserved
from subclaw.core.channel import Address, InboundMessage, Intake
from subclaw.core.errors import Invalid, Unavailable
from subclaw.pages.request import media_type, read_body

WEBHOOK_PATH = "/webhooks/twilio/sms"
_BODY_LIMIT_BYTES = 64_000
_FIELDS_LIMIT = 200
_RETRY_AFTER_S = 2

logger = logging.getLogger(__name__)

SignatureCheck = Callable[[str, Mapping[str, str], str], Awaitable[bool]]
"""Tells whether Twilio signed a request: the exact public URL, the form's parameters, `X-Twilio-Signature`.

Errors: `Unavailable`, if whoever holds the token cannot be asked.
"""


def sms_router(*, intake: Intake, check_signature: SignatureCheck, public_url: str) -> APIRouter:
    """Return the route that Twilio calls. `public_url` is the one under which Twilio reaches it, without a path."""
    router = APIRouter(include_in_schema=False)
    webhook_url = public_url.rstrip("/") + WEBHOOK_PATH

    @router.post(WEBHOOK_PATH)
    async def received(request: Request) -> Response:
        params = await _read_form(request)
        if isinstance(params, Response):
            return params
        # What Twilio signed is the address that it was given, not what a proxy made of it.
        query = request.url.query
        url = f"{webhook_url}?{query}" if query else webhook_url
        try:
            signature = request.headers.get("x-twilio-signature", "")
            if not signature or not await check_signature(url, params, signature):
                logger.warning(
                    "refused a text message: not signed for %s (is that its address at Twilio?)", webhook_url
                )
                return PlainTextResponse("The signature is wrong.", status_code=403)
            return _twiml(await _take(params, intake))
        except Unavailable:
            return PlainTextResponse("Not just now.", status_code=503, headers={"Retry-After": str(_RETRY_AFTER_S)})

    return router


async def _take(params: Mapping[str, str], intake: Intake) -> str | None:
    """Hand a signed message in. Return words to answer with at once, or None."""
    sender, message_id = params.get("From", ""), params.get("MessageSid", "")
    text = params.get("Body", "")
    if not sender or not message_id:
        return None
    # Twilio has answered these; an answer of ours would break its opt-out rules, and fail (error 21610).
    if params.get("OptOutType") or is_reserved(text):
        return None
    if not text.strip() and params.get("NumMedia", "0") != "0":
        return "I can't look at pictures or files here yet. Tell me in words what you would like."
    try:
        await intake.receive(
            InboundMessage(
                sender=Address(channel="sms", address=sender),
                provider_id=message_id,
                text=text,
                received_at=datetime.now(UTC),
            )
        )
    except Invalid as error:
        return error.public
    return None


async def _read_form(request: Request) -> Mapping[str, str] | Response:
    """Return the parameters exactly as they were signed: raw bytes decoded once, empty ones kept."""
    if media_type(request) != "application/x-www-form-urlencoded":
        return PlainTextResponse("That was not a form.", status_code=415)
    body = await read_body(request, limit_bytes=_BODY_LIMIT_BYTES)
    if body is None:
        return PlainTextResponse("That is too long.", status_code=413)
    params = parse_form(body)
    return PlainTextResponse("That was not a proper form.", status_code=400) if params is None else params


def parse_form(body: bytes) -> Mapping[str, str] | None:
    """Parse a form whose names are all different; None if it is not one."""
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=_FIELDS_LIMIT)
    except ValueError:
        return None
    params = dict(pairs)
    return params if len(params) == len(pairs) else None


def _twiml(words: str | None) -> Response:
    answer = MessagingResponse()
    if words is not None:
        answer.message(words)
    return Response(str(answer), media_type="text/xml")
