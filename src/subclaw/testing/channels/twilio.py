"""A Twilio of our own on loopback: its REST API for sending and listing, and its webhooks, really signed.

It misbehaves on demand as the real one does: it fails or falls silent after it took a message, lists what it took only
later, and sends receipts twice and out of order.
Source: https://www.twilio.com/docs/messaging/api/message-resource and https://www.twilio.com/docs/usage/security.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import aiohttp
from aiohttp import web
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from subclaw.testing.channels.provider import FakeProvider, keep, running


class Behaviour(StrEnum):
    """How the fake answers one request."""

    ACCEPT = "accept"
    SLOW_DOWN = "slow down"
    FAIL = "fail"
    FAIL_TAKEN = "fail, taken"
    """Take the message, and answer 500."""
    OPTED_OUT = "opted out"
    HANG = "hang"
    HANG_TAKEN = "hang, taken"
    """Take the message, and never answer."""
    DROP = "drop"
    """Take the message, and close the connection without a word."""
    NO_MEDIA = "no media"
    """Say that a file of this type cannot be sent."""
    BABBLE = "babble"
    """Take the message, and answer with something that is not JSON."""


_BEFORE_TAKING = frozenset(
    {Behaviour.SLOW_DOWN, Behaviour.FAIL, Behaviour.OPTED_OUT, Behaviour.NO_MEDIA, Behaviour.HANG}
)


@dataclass(kw_only=True)
class TakenMessage:
    """A message that the fake took. `taken_s` is by the loop's clock; `status` is for the test to change.

    `media_urls` are where its files are, which the real one fetches.
    """

    sid: str
    to: str
    sender: str
    text: str
    status_callback: str
    taken_at: datetime
    taken_s: float
    status: str = "queued"
    error_code: int | None = None
    media_urls: tuple[str, ...] = ()


@dataclass(kw_only=True)
class FakeTwilio(FakeProvider):
    """The state of the fake.

    `behaviours` holds for the requests to send that are to come, one each; after that it accepts. `list_behaviours` is
    the same for requests to list, which show what was taken at least `list_lag_s` ago. Receipts are posted to
    `receipts_to`, which stands for the origin of the address that was given for them. `numbers` are the account's, with
    the address that messages to each go to. `media` are the files that came with messages, by the path of each below
    the version of the API; it answers with where they are: `media_url`, or at a stranger's if that `strays`.
    """

    account_sid: str
    auth_token: str
    prefix: str = ""
    behaviours: deque[Behaviour] = field(default_factory=deque)
    list_behaviours: deque[Behaviour] = field(default_factory=deque)
    list_lag_s: float = 0.0
    messages: list[TakenMessage] = field(default_factory=list)
    requests: int = 0
    lists: int = 0
    receipts_to: str = ""
    numbers: dict[str, str] = field(default_factory=dict)
    media: dict[str, bytes] = field(default_factory=dict)
    media_url: str = ""
    strays: bool = False


@asynccontextmanager
async def fake_twilio(
    *, account_sid: str, auth_token: str, socket: Path | None = None, prefix: str = "", port: int = 0
) -> AsyncIterator[FakeTwilio]:
    """Serve the fake on a port of loopback, or on a unix socket under a path prefix, as the egress gateway has it."""
    fake = FakeTwilio(account_sid=account_sid, auth_token=auth_token, prefix=prefix)
    app = web.Application()
    app.router.add_post(prefix + "/2010-04-01/Accounts/{sid}/Messages.json", partial(_send, fake))
    app.router.add_get(prefix + "/2010-04-01/Accounts/{sid}/Messages.json", partial(_list, fake))
    app.router.add_get(prefix + "/2010-04-01/Accounts/{sid}/IncomingPhoneNumbers.json", partial(_numbers, fake))
    app.router.add_get(prefix + "/2010-04-01/{path:Accounts/[^/]+/Messages/[^/]+/Media/[^/]+}", partial(_media, fake))
    app.router.add_get(prefix + "/cdn/{path:.+}", partial(_content, fake))
    async with running(fake, app) as runner:
        site = web.TCPSite(runner, "127.0.0.1", port) if socket is None else web.UnixSite(runner, str(socket))
        await site.start()
        fake.base_url = f"http://egress{prefix}" if socket else f"http://127.0.0.1:{runner.addresses[0][1]}{prefix}"
        fake.media_url = f"{fake.base_url}/cdn"
        yield fake


async def _send(fake: FakeTwilio, request: web.Request) -> web.StreamResponse:
    fake.requests += 1
    if not _authenticated(fake, request):
        return _error(401, 20003, "Authenticate")
    form = await request.post()
    to, sender, text, callback = (str(form.get(name, "")) for name in ("To", "From", "Body", "StatusCallback"))
    media_urls = tuple(str(url) for url in form.getall("MediaUrl", []))
    behaviour = fake.behaviours.popleft() if fake.behaviours else Behaviour.ACCEPT
    if any(urlsplit(url).hostname in (None, "localhost") for url in media_urls):
        return _error(400, 21620, "Invalid media URL(s)")
    if not text or len(text.encode("utf-16-le")) // 2 > 1600:
        return _error(400, 21617 if text else 21602, "The message body is missing or exceeds the 1600 character limit")
    if callback and urlsplit(callback).hostname in (None, "localhost"):
        return _error(400, 21609, "The StatusCallback URL is not a valid URL")
    if behaviour in _BEFORE_TAKING:
        return await _misbehave(fake, request, behaviour)
    message = TakenMessage(
        sid="SM" + secrets.token_hex(16),
        to=to,
        sender=sender,
        text=text,
        status_callback=callback,
        taken_at=datetime.now(UTC),
        taken_s=asyncio.get_running_loop().time(),
        media_urls=media_urls,
    )
    await keep(fake, fake.messages, message)
    if behaviour is not Behaviour.ACCEPT:
        return await _misbehave(fake, request, behaviour)
    return web.json_response(_resource(fake, message), status=201)


async def _list(fake: FakeTwilio, request: web.Request) -> web.StreamResponse:
    fake.lists += 1
    if not _authenticated(fake, request):
        return _error(401, 20003, "Authenticate")
    if fake.list_behaviours and (behaviour := fake.list_behaviours.popleft()) is not Behaviour.ACCEPT:
        return await _misbehave(fake, request, behaviour)
    query = request.query
    visible_s = asyncio.get_running_loop().time() - fake.list_lag_s
    found = [
        message
        for message in reversed(fake.messages)
        if query.get("To", message.to) == message.to
        and query.get("From", message.sender) == message.sender
        and message.taken_s <= visible_s
    ]
    size, page = int(query.get("PageSize", "50")), int(query.get("Page", "0"))
    shown, rest = found[page * size : (page + 1) * size], found[(page + 1) * size :]
    following = f"{request.path.removeprefix(fake.prefix)}?{urlencode({**query, 'Page': page + 1})}" if rest else None
    return web.json_response(
        {"messages": [_resource(fake, message) for message in shown], "next_page_uri": following, "page_size": size}
    )


async def _numbers(fake: FakeTwilio, request: web.Request) -> web.StreamResponse:
    if not _authenticated(fake, request):
        return _error(401, 20003, "Authenticate")
    asked = request.query.get("PhoneNumber", "")
    found = [
        {"sid": "PN1", "phone_number": number, "sms_url": url}
        for number, url in fake.numbers.items()
        if number == asked
    ]
    return web.json_response({"incoming_phone_numbers": found, "next_page_uri": None, "page_size": 1})


async def _media(fake: FakeTwilio, request: web.Request) -> web.StreamResponse:
    """Say where a file is, at an address that needs no credentials, and is for some hours."""
    authorization = aiohttp.encode_basic_auth(fake.account_sid, fake.auth_token)
    path = request.match_info["path"]
    if request.headers.get("Authorization") != authorization:
        return _error(401, 20003, "Authenticate")
    if path not in fake.media:
        return _error(404, 20404, "The requested resource was not found")
    url = "https://elsewhere.example" if fake.strays else fake.media_url
    return web.Response(status=307, headers={"Location": f"{url}/{path}?Expires=1&Signature=x~y"})


async def _content(fake: FakeTwilio, request: web.Request) -> web.StreamResponse:
    if "Authorization" in request.headers or request.query.get("Signature") != "x~y":
        return web.Response(status=403)
    return web.Response(body=fake.media[request.match_info["path"]])


def _authenticated(fake: FakeTwilio, request: web.Request) -> bool:
    authorization = aiohttp.encode_basic_auth(fake.account_sid, fake.auth_token)
    return request.headers.get("Authorization") == authorization and request.match_info["sid"] == fake.account_sid


async def _misbehave(fake: FakeTwilio, request: web.Request, behaviour: Behaviour) -> web.StreamResponse:
    match behaviour:
        case Behaviour.SLOW_DOWN:
            return _error(429, 20429, "Too Many Requests", {"Retry-After": "3"})
        case Behaviour.OPTED_OUT:
            return _error(400, 21610, "Attempt to send to unsubscribed recipient")
        case Behaviour.NO_MEDIA:
            return _error(400, 12300, "Invalid Content-Type: Attempt to send an unsupported media type")
        case Behaviour.HANG | Behaviour.HANG_TAKEN:
            await fake.stopped.wait()
            return _error(503, 20503, "Stopping")
        case Behaviour.BABBLE:
            return web.Response(status=201, text="<html>")
        case Behaviour.DROP:
            if request.transport is not None:
                request.transport.abort()
    return _error(500, 20500, "Internal server error")


def _resource(fake: FakeTwilio, message: TakenMessage) -> dict[str, object]:
    return {
        "account_sid": fake.account_sid,
        "api_version": "2010-04-01",
        "body": message.text,
        "date_created": format_datetime(message.taken_at),
        "date_sent": None,
        "direction": "outbound-api",
        "error_code": message.error_code,
        "from": message.sender,
        "num_media": str(len(message.media_urls)),
        "num_segments": "1",
        "sid": message.sid,
        "status": message.status,
        "to": message.to,
        "uri": f"/2010-04-01/Accounts/{fake.account_sid}/Messages/{message.sid}.json",
    }


async def send_receipt(
    fake: FakeTwilio, message: TakenMessage, status: str, error_code: int | None = None, *, copies: int = 1
) -> list[int]:
    """Post a signed receipt as Twilio does, `copies` times at once. Return each answer's HTTP status."""
    params = {
        "AccountSid": fake.account_sid,
        "ApiVersion": "2010-04-01",
        "From": message.sender,
        "MessageSid": message.sid,
        "MessageStatus": status,
        "SmsSid": message.sid,
        "SmsStatus": status,
        "To": message.to,
    }
    if error_code is not None:
        params["ErrorCode"] = str(error_code)
    answers = await deliver(
        to_url=fake.receipts_to + urlsplit(message.status_callback).path,
        signed_url=message.status_callback,
        auth_token=fake.auth_token,
        params=params,
        copies=copies,
    )
    return [answer for answer, _ in answers]


def _error(status: int, code: int, words: str, headers: Mapping[str, str] | None = None) -> web.Response:
    more = f"https://www.twilio.com/docs/errors/{code}"
    body = {"code": code, "message": words, "more_info": more, "status": status}
    return web.json_response(body, status=status, headers=headers)


def inbound_sms(*, account_sid: str, sender: str, to: str, text: str, **more: str) -> dict[str, str]:
    """Return the parameters with which Twilio reports a text message. `more` overrides or adds some."""
    sid = "SM" + secrets.token_hex(16)
    params = {
        "ToCountry": "US",
        "ToState": "",
        "SmsMessageSid": sid,
        "NumMedia": "0",
        "SmsSid": sid,
        "SmsStatus": "received",
        "Body": text,
        "FromCountry": "US",
        "To": to,
        "NumSegments": "1",
        "MessageSid": sid,
        "AccountSid": account_sid,
        "From": sender,
        "ApiVersion": "2010-04-01",
    }
    return params | more


def inbound_mms(
    fake: FakeTwilio, *, sender: str, to: str, text: str, files: Mapping[bytes, str], **more: str
) -> dict[str, str]:
    """Return the parameters with which Twilio reports a message with files (their types by content), and keep those."""
    params = inbound_sms(account_sid=fake.account_sid, sender=sender, to=to, text=text, NumMedia=str(len(files)))
    for number, (content, media_type) in enumerate(files.items()):
        path = f"Accounts/{fake.account_sid}/Messages/{params['MessageSid']}/Media/ME{secrets.token_hex(16)}"
        fake.media[path] = content
        params[f"MediaUrl{number}"] = f"https://api.twilio.com/2010-04-01/{path}"
        params[f"MediaContentType{number}"] = media_type
    return params | more


def sign(auth_token: str, url: str, params: Mapping[str, str]) -> str:
    """Return the `X-Twilio-Signature` of a request, computed by Twilio's own library."""
    return str(RequestValidator(auth_token).compute_signature(url, dict(params)))


async def deliver(
    *, to_url: str, signed_url: str, auth_token: str, params: Mapping[str, str], copies: int = 1
) -> list[tuple[int, str]]:
    """Post a signed webhook as Twilio does, `copies` times at once. Return each answer's status and text.

    `signed_url` is the public address; `to_url` is where it leads to here.
    """
    headers = {"X-Twilio-Signature": sign(auth_token, signed_url, params), "I-Twilio-Idempotency-Token": "t"}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as session:

        async def once() -> tuple[int, str]:
            async with session.post(to_url, data=dict(params), headers=headers) as response:
                return response.status, await response.text()

        return list(await asyncio.gather(*(once() for _ in range(copies))))
