"""SMS by Twilio: messages in, and receipts for those that went out, by webhook.

Facts: https://www.twilio.com/docs/usage/security (signatures), https://www.twilio.com/docs/messaging/guides/webhook-request,
https://www.twilio.com/docs/messaging/guides/track-outbound-message-status.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from twilio.twiml.messaging_response import MessagingResponse  # type: ignore[import-untyped]

from subclaw.channels.sms.errors import delivery_of, is_opt_out, loss
from subclaw.channels.sms.media import read_attachments
from subclaw.channels.sms.paths import STATUS_PATH, WEBHOOK_PATH
from subclaw.core.channel import Address, Delivery, DeliveryReport, DeliveryReports, InboundMessage, Intake
from subclaw.core.errors import Invalid, Unavailable
from subclaw.core.tenant import TenantId
from subclaw.pages.request import media_type, read_body

_ID_LIMIT = 2**63
_PART_LIMIT = 2**31
_BODY_LIMIT_BYTES = 64_000
_FIELDS_LIMIT = 200
_RETRY_AFTER_S = 2

logger = logging.getLogger(__name__)

SignatureCheck = Callable[[str, Mapping[str, str], str], Awaitable[bool]]
"""Tells whether Twilio signed a request: the exact public URL, the form's parameters, `X-Twilio-Signature`.

Errors: `Unavailable`, if whoever holds the token cannot be asked.
"""


def sms_router(
    *, intake: Intake, reports: DeliveryReports, check_signature: SignatureCheck, public_url: str
) -> APIRouter:
    """Return the routes that Twilio calls. `public_url` is the one under which Twilio reaches them, without a path."""
    router = APIRouter(include_in_schema=False)
    public_url = public_url.rstrip("/")

    @router.post(WEBHOOK_PATH)
    async def received(request: Request) -> Response:
        try:
            params = await _signed_form(request, public_url, check_signature)
            return params if isinstance(params, Response) else _twiml(await _take(params, intake))
        except Unavailable:
            return _not_now()

    @router.post(STATUS_PATH + "/{tenant_id:int}/{reply_id:int}/{part:int}")
    async def told(request: Request, tenant_id: int, reply_id: int, part: int) -> Response:
        if max(tenant_id, reply_id) >= _ID_LIMIT or part >= _PART_LIMIT:
            return PlainTextResponse("There is no such message.", status_code=404)
        try:
            params = await _signed_form(request, public_url, check_signature)
            if isinstance(params, Response):
                return params
            if report := _report(params, TenantId(tenant_id), reply_id, part):
                await reports.report(report)
            return Response(status_code=204)
        except Unavailable:
            return _not_now()

    return router


def _not_now() -> Response:
    return PlainTextResponse("Not just now.", status_code=503, headers={"Retry-After": str(_RETRY_AFTER_S)})


async def _signed_form(
    request: Request, public_url: str, check_signature: SignatureCheck
) -> Mapping[str, str] | Response:
    """Return the parameters of a request that Twilio signed, or the refusal. Errors: `Unavailable`."""
    params = await _read_form(request)
    if isinstance(params, Response):
        return params
    # What Twilio signed is the address that it was given, not what a proxy made of it.
    webhook_url, query = public_url + request.url.path, request.url.query
    url = f"{webhook_url}?{query}" if query else webhook_url
    signature = request.headers.get("x-twilio-signature", "")
    if not signature or not await check_signature(url, params, signature):
        logger.warning("refused what is not signed for %s (is that its address at Twilio?)", webhook_url)
        return PlainTextResponse("The signature is wrong.", status_code=403)
    return params


def _report(params: Mapping[str, str], tenant_id: TenantId, reply_id: int, part: int) -> DeliveryReport | None:
    """Return what a receipt says, or None if it is one that says nothing."""
    message_id, delivery = params.get("MessageSid", ""), delivery_of(params.get("MessageStatus", ""))
    if not message_id or delivery is None:
        return None
    return DeliveryReport(
        tenant_id=tenant_id,
        reply_id=reply_id,
        part=part,
        provider_id=message_id,
        delivery=delivery,
        detail=loss(params.get("ErrorCode", "")) if delivery is Delivery.FAILED else "",
        opted_out=is_opt_out(params.get("ErrorCode", "")),
    )


async def _take(params: Mapping[str, str], intake: Intake) -> str | None:
    """Hand a signed message in. Return words to answer with at once, or None."""
    sender, message_id = params.get("From", ""), params.get("MessageSid", "")
    # The operator may have words of their own at Twilio, which says what they mean, and has answered them itself.
    text = params.get("OptOutType") or params.get("Body", "")
    if not sender or not message_id:
        return None
    attachments = read_attachments(params)
    if not text.strip() and not attachments and params.get("NumMedia", "0") != "0":
        return "I could not get what you sent. Please send it again, or tell me in words what you would like."
    try:
        await intake.receive(
            InboundMessage(
                sender=Address(channel="sms", address=sender),
                provider_id=message_id,
                text=text,
                received_at=datetime.now(UTC),
                attachments=attachments,
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
