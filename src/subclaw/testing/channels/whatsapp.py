"""A WhatsApp of our own on loopback: the Cloud API, its files, and webhooks that are delivered until they are taken.

It is strict where the real one is: the access token, the length of texts, the window of 24 hours, what a template may
hold. It misbehaves on demand: it asks to slow down, fails or falls silent before or after it took a message.
Source: https://developers.facebook.com/documentation/business-messaging/whatsapp.
"""

import hashlib
import hmac
import io
import itertools
import json
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any

import aiohttp
from aiohttp import web

from subclaw.testing.channels.lost_answers import LOST_ANSWERS, LostAnswer, lose_answer
from subclaw.testing.channels.provider import FakeProvider, keep, on_loopback, wait_until
from subclaw.testing.channels.webhooks import deliver_until_taken

TEXT_LIMIT = 4096
TEMPLATE_LIMIT = 1024
WINDOW_S = 86_400
UPLOADED_TYPES = frozenset({"image/jpeg", "image/png", "application/pdf", "text/plain"})


class Behaviour(StrEnum):
    """How the fake answers one request to send."""

    ACCEPT = "accept"
    SLOW_DOWN = "130429"
    PAIR_LIMIT = "131056"
    UNREACHABLE = "131026"
    CLOSED = "131047"
    """Say that the person has not written for 24 hours, whatever is known here."""
    EXPIRED = "190"
    BLOCKED = "368"
    SERVICE = "131016"
    """Say with HTTP 500 that a service is not there: nothing was sent."""
    FAIL = "fail"
    FAIL_TAKEN = LostAnswer.FAIL
    HANG_TAKEN = LostAnswer.HANG
    DROP = LostAnswer.DROP
    NO_FILE = "131053"
    """Say that the file cannot be used."""
    BABBLE = LostAnswer.BABBLE


_STATUSES = {
    Behaviour.SLOW_DOWN: (429, "Rate limit hit"),
    Behaviour.PAIR_LIMIT: (400, "Business Account to Consumer Account pair rate limit hit"),
    Behaviour.UNREACHABLE: (400, "Message undeliverable"),
    Behaviour.CLOSED: (400, "Re-engagement message"),
    Behaviour.EXPIRED: (401, "Error validating access token: Session has expired"),
    Behaviour.BLOCKED: (403, "Temporarily blocked for policies violations"),
    Behaviour.SERVICE: (500, "Service unavailable"),
    Behaviour.NO_FILE: (400, "Media upload error"),
}


@dataclass(frozen=True, kw_only=True)
class TakenMessage:
    """A message that the fake took. `template` is empty for one of free words; `tracker` comes back with receipts.

    With a file, `text` is what stands below it; `kind` is "image" or "document", and `file` what was uploaded.
    """

    message_id: str
    to: str
    text: str
    template: str
    tracker: str
    kind: str = "text"
    file: tuple[str, bytes] = ("", b"")
    file_name: str = ""


@dataclass(kw_only=True)
class FakeWhatsApp(FakeProvider):
    """The state of the fake.

    `behaviours` holds for the messages that are to come, one each; after that it accepts. `files` are by their id, with
    their type; `templates` are names with languages. Webhooks are posted to `webhooks_to`, again after `again_s` if
    they were not taken; what was answered stands in `answers`. `indicators` are ids of messages that were read, and
    whether typing was shown. `last_written` is when each person wrote last (seconds since 1970).
    """

    token: str
    app_secret: str
    phone_number_id: str
    number: str
    behaviours: deque[Behaviour] = field(default_factory=deque)
    messages: list[TakenMessage] = field(default_factory=list)
    indicators: list[tuple[str, bool]] = field(default_factory=list)
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    templates: set[tuple[str, str]] = field(default_factory=set)
    last_written: dict[str, float] = field(default_factory=dict)
    requests: int = 0
    webhooks_to: str = ""
    again_s: float = 0.05
    answers: list[int] = field(default_factory=list)
    ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))


@asynccontextmanager
async def fake_whatsapp(
    *, token: str, app_secret: str, phone_number_id: str, number: str, port: int = 0
) -> AsyncIterator[FakeWhatsApp]:
    """Serve the fake on a port of loopback."""
    fake = FakeWhatsApp(token=token, app_secret=app_secret, phone_number_id=phone_number_id, number=number)
    app = web.Application(client_max_size=100_000_000)
    app.router.add_post("/{version}/{id}/media", partial(_upload, fake))
    app.router.add_post("/{version}/{id}/messages", partial(_messages, fake))
    app.router.add_get("/{version}/{id}", partial(_object, fake))
    app.router.add_get("/whatsapp_business/attachments/", partial(_file, fake))
    async with on_loopback(fake, app, port=port) as origin:
        fake.base_url = origin
        yield fake


def written(fake: FakeWhatsApp, text: str = "", *, person: str, ago_s: float = 0, **more: Any) -> dict[str, Any]:
    """Return a message of a person's, as one stands in a webhook. `more` overrides or adds fields.

    A `person` is a number, or an id such as `US.1349120865`, which WhatsApp gives for who hides theirs.
    """
    at_s = time.time() - ago_s
    fake.last_written[person] = max(at_s, fake.last_written.get(person, 0))
    message: dict[str, Any] = {"id": f"wamid.in{next(fake.ids):06}=", "timestamp": str(int(at_s))}
    message |= {"from_user_id" if "." in person else "from": person}
    if text:
        message |= {"type": "text", "text": {"body": text}}
    return message | more


def receipt(message: TakenMessage, status: str, *, code: int | None = None) -> dict[str, Any]:
    """Return what is reported of a message that the fake took: sent, delivered, read or failed."""
    told: dict[str, Any] = {"id": message.message_id, "status": status, "timestamp": str(int(time.time()))}
    told |= {"recipient_id": message.to, "biz_opaque_callback_data": message.tracker}
    if code is not None:
        details = {"details": f"Message to {message.to} failed"}
        told["errors"] = [{"code": code, "title": "An error", "message": "An error", "error_data": details}]
    return told


def webhook(
    fake: FakeWhatsApp, messages: Sequence[Mapping[str, Any]] = (), statuses: Sequence[Mapping[str, Any]] = ()
) -> bytes:
    """Return the bytes of a webhook, as Meta writes them: other letters than ASCII's escaped."""
    value: dict[str, Any] = {"messaging_product": "whatsapp"}
    value["metadata"] = {"display_phone_number": fake.number, "phone_number_id": fake.phone_number_id}
    if messages:
        value |= {"contacts": [], "messages": list(messages)}
    if statuses:
        value["statuses"] = list(statuses)
    entry = {"id": "102290129340398", "changes": [{"value": value, "field": "messages"}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}, separators=(",", ":")).encode()


def sign(app_secret: str, body: bytes) -> str:
    """Return the `X-Hub-Signature-256` of a webhook."""
    return "sha256=" + hmac.new(app_secret.encode(), body, hashlib.sha256).hexdigest()


async def post(fake: FakeWhatsApp, body: bytes, *, deliveries: int = 1) -> int:
    """Deliver a webhook as Meta does: again until it is taken. Return how often it was refused before.

    With several `deliveries`, it is delivered so often although it was taken.
    """
    return await deliver_until_taken(partial(_post, fake, body), again_s=fake.again_s, deliveries=deliveries)


async def _post(fake: FakeWhatsApp, body: bytes, session: aiohttp.ClientSession) -> bool:
    headers = {"X-Hub-Signature-256": sign(fake.app_secret, body), "Content-Type": "application/json"}
    async with session.post(fake.webhooks_to, data=io.BytesIO(body), headers=headers) as response:
        fake.answers.append(response.status)
        return response.status == 200


async def say(fake: FakeWhatsApp, *messages: Mapping[str, Any], deliveries: int = 1) -> int:
    """Deliver messages of persons' in one webhook. Return how often it was refused before."""
    return await post(fake, webhook(fake, messages), deliveries=deliveries)


async def tell(fake: FakeWhatsApp, *statuses: Mapping[str, Any]) -> int:
    """Deliver receipts in one webhook. Return how often it was refused before."""
    return await post(fake, webhook(fake, statuses=statuses))


async def until(fake: FakeWhatsApp, count: int) -> list[str]:
    """Wait until so many messages are taken; return their texts."""
    await wait_until(fake, lambda: len(fake.messages) >= count)
    return [message.text for message in fake.messages]


async def until_read(fake: FakeWhatsApp, message_id: str) -> bool:
    """Wait until a message is marked as read; return whether typing was shown with it."""
    await wait_until(fake, lambda: any(id == message_id for id, _ in fake.indicators))
    return dict(fake.indicators)[message_id]


async def _messages(fake: FakeWhatsApp, request: web.Request) -> web.StreamResponse:
    fake.requests += 1
    if refusal := _refusal(fake, request):
        return refusal
    given = await request.json()
    if request.match_info["id"] != fake.phone_number_id:
        return _error(400, 33, "This object does not exist or does not support this operation")
    if given.get("messaging_product") != "whatsapp":
        return _error(400, 100, "The parameter messaging_product is required.")
    if given.get("status") == "read":
        await keep(fake, fake.indicators, (given["message_id"], given.get("typing_indicator") == {"type": "text"}))
        return web.json_response({"success": True})
    return await _send(fake, request, given)


async def _send(fake: FakeWhatsApp, request: web.Request, given: Mapping[str, Any]) -> web.StreamResponse:
    behaviour = fake.behaviours.popleft() if fake.behaviours else Behaviour.ACCEPT
    to = given.get("to") or given.get("recipient") or ""
    if behaviour in _STATUSES:
        status, words = _STATUSES[behaviour]
        return _error(status, int(behaviour.value), words)
    if behaviour is Behaviour.FAIL:
        return web.Response(status=500)
    taken = _read(fake, to, given)
    if isinstance(taken, web.Response):
        return taken
    await keep(fake, fake.messages, taken)
    if behaviour in LOST_ANSWERS:
        return await lose_answer(fake, request, behaviour, web.Response(status=500))
    contact = {"input": to, ("user_id" if "." in to else "wa_id"): to}
    return web.json_response(
        {"messaging_product": "whatsapp", "contacts": [contact], "messages": [{"id": taken.message_id}]}
    )


def _read(fake: FakeWhatsApp, to: str, given: Mapping[str, Any]) -> TakenMessage | web.Response:
    """Return the message in a request, or what the real one answers to such a one."""
    if not to or (("." in to) != ("recipient" in given)):
        return _error(400, 100, "The parameter to is required.")
    template = ""
    kind, file, file_name = str(given.get("type", "")), ("", b""), ""
    match given:
        case {"type": "image" | "document", **rest}:
            sent = rest[kind]
            if sent.get("id") not in fake.files:
                return _error(400, 131053, "Media upload error")
            if time.time() - fake.last_written.get(to, 0) > WINDOW_S:
                return _error(400, 131047, "Re-engagement message")
            text, file, file_name = sent.get("caption", ""), fake.files[sent["id"]], sent.get("filename", "")
        case {"type": "text", "text": {"body": str(text)}}:
            if not text or len(text) > TEXT_LIMIT:
                return _error(400, 100, "Param text['body'] must be at most 4096 characters long.")
            if time.time() - fake.last_written.get(to, 0) > WINDOW_S:
                return _error(400, 131047, "Re-engagement message")
        case {
            "type": "template",
            "template": {
                "name": str(template),
                "language": {"code": str(language)},
                "components": [{"type": "body" | "BODY", "parameters": [{"type": "text", "text": str(text)}]}],
            },
        }:
            if (template, language) not in fake.templates:
                return _error(404, 132001, "Template name does not exist in the translation")
            if re.search(r"[\n\t]| {5}", text) or not text:
                return _error(400, 132018, "Param text cannot have new-line/tab characters or more than 4 spaces")
            if len(text) > TEMPLATE_LIMIT:
                return _error(400, 132005, "Translated text too long")
        case _:
            return _error(400, 100, "Unsupported message")
    message_id, tracker = f"wamid.out{next(fake.ids):06}=", given.get("biz_opaque_callback_data", "")
    return TakenMessage(
        message_id=message_id,
        to=to,
        text=text,
        template=template,
        tracker=tracker,
        kind=kind,
        file=file,
        file_name=file_name,
    )


async def _upload(fake: FakeWhatsApp, request: web.Request) -> web.StreamResponse:
    fake.requests += 1
    if refusal := _refusal(fake, request):
        return refusal
    form = await request.post()
    file, media_type = form.get("file"), str(form.get("type", ""))
    if not isinstance(file, web.FileField) or form.get("messaging_product") != "whatsapp":
        return _error(400, 100, "The parameter file is required.")
    if media_type not in UPLOADED_TYPES:
        return _error(400, 100, f"Param file must be a file with one of the following types. Received {media_type}")
    media_id = str(next(fake.ids))
    fake.files[media_id] = (media_type, file.file.read())
    return web.json_response({"id": media_id})


async def _object(fake: FakeWhatsApp, request: web.Request) -> web.StreamResponse:
    fake.requests += 1
    id = request.match_info["id"]
    if refusal := _refusal(fake, request):
        return refusal
    if id == fake.phone_number_id:
        number = f"+{fake.number[1:2]} {fake.number[2:5]}-{fake.number[5:]}"
        return web.json_response(
            {"id": id, "verified_name": "Agents", "display_phone_number": number, "quality_rating": "GREEN"}
        )
    if id not in fake.files:
        return _error(400, 100, "Object with ID does not exist")
    media_type, content = fake.files[id]
    known = {"messaging_product": "whatsapp", "id": id, "mime_type": media_type, "file_size": len(content)}
    url = f"{fake.base_url}/whatsapp_business/attachments/?mid={id}&ext=1&hash=x"
    return web.json_response(known | {"url": url, "sha256": hashlib.sha256(content).hexdigest()})


async def _file(fake: FakeWhatsApp, request: web.Request) -> web.StreamResponse:
    if _refusal(fake, request) or request.query.get("mid") not in fake.files:
        return web.Response(status=404)
    media_type, content = fake.files[request.query["mid"]]
    return web.Response(body=content, content_type=media_type)


def _refusal(fake: FakeWhatsApp, request: web.Request) -> web.Response | None:
    if request.headers.get("Authorization") == f"Bearer {fake.token}":
        return None
    return _error(401, 190, "Invalid OAuth access token - Cannot parse access token")


def _error(status: int, code: int, words: str) -> web.Response:
    error = {"message": f"(#{code}) {words}", "type": "OAuthException", "code": code, "fbtrace_id": "A"}
    error["error_data"] = {"messaging_product": "whatsapp", "details": words}
    return web.json_response({"error": error}, status=status)
