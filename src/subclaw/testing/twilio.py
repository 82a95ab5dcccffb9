"""A Twilio of our own on loopback: its REST API for sending, well-behaved or not, and its webhooks, really signed.

Source: https://www.twilio.com/docs/messaging/api/message-resource and https://www.twilio.com/docs/usage/security.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path

import aiohttp
from aiohttp import web
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]


class Behaviour(StrEnum):
    """How the fake answers one request to send."""

    ACCEPT = "accept"
    SLOW_DOWN = "slow down"
    FAIL = "fail"
    OPTED_OUT = "opted out"
    HANG = "hang"
    DROP = "drop"
    """Take the message, and close the connection without a word."""
    BABBLE = "babble"
    """Take the message, and answer with something that is not JSON."""


@dataclass(frozen=True, kw_only=True)
class TakenMessage:
    """A message that the fake took for sending."""

    sid: str
    to: str
    sender: str
    text: str


@dataclass(kw_only=True)
class FakeTwilio:
    """The state of the fake. `behaviours` holds for the requests to come, one each; after that it accepts."""

    account_sid: str
    auth_token: str
    base_url: str = ""
    behaviours: deque[Behaviour] = field(default_factory=deque)
    messages: list[TakenMessage] = field(default_factory=list)
    requests: int = 0
    stopped: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def fake_twilio(
    *, account_sid: str, auth_token: str, socket: Path | None = None, prefix: str = ""
) -> AsyncIterator[FakeTwilio]:
    """Serve the fake on a port of loopback, or on a unix socket under a path prefix, as the egress gateway has it."""
    fake = FakeTwilio(account_sid=account_sid, auth_token=auth_token)
    app = web.Application()
    app.router.add_post(prefix + "/2010-04-01/Accounts/{sid}/Messages.json", partial(_send, fake))
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0) if socket is None else web.UnixSite(runner, str(socket))
        await site.start()
        fake.base_url = f"http://egress{prefix}" if socket else f"http://127.0.0.1:{runner.addresses[0][1]}{prefix}"
        yield fake
    finally:
        fake.stopped.set()
        await runner.cleanup()


async def _send(fake: FakeTwilio, request: web.Request) -> web.StreamResponse:
    fake.requests += 1
    authorization = aiohttp.encode_basic_auth(fake.account_sid, fake.auth_token)
    if request.headers.get("Authorization") != authorization or request.match_info["sid"] != fake.account_sid:
        return _error(401, 20003, "Authenticate")
    form = await request.post()
    to, sender, text = (str(form.get(name, "")) for name in ("To", "From", "Body"))
    behaviour = fake.behaviours.popleft() if fake.behaviours else Behaviour.ACCEPT
    if not text or len(text.encode("utf-16-le")) // 2 > 1600:
        return _error(400, 21617 if text else 21602, "The message body is missing or exceeds the 1600 character limit")
    match behaviour:
        case Behaviour.SLOW_DOWN:
            return _error(429, 20429, "Too Many Requests", {"Retry-After": "3"})
        case Behaviour.FAIL:
            return _error(500, 20500, "Internal server error")
        case Behaviour.OPTED_OUT:
            return _error(400, 21610, f"Attempt to send to unsubscribed recipient {to}")
        case Behaviour.HANG:
            await fake.stopped.wait()
            return _error(503, 20503, "Stopping")
    message = TakenMessage(sid="SM" + secrets.token_hex(16), to=to, sender=sender, text=text)
    fake.messages.append(message)
    if behaviour is Behaviour.DROP and request.transport is not None:
        request.transport.abort()
    if behaviour is Behaviour.BABBLE:
        return web.Response(status=201, text="<html>")
    return _created(fake, message)


def _created(fake: FakeTwilio, message: TakenMessage) -> web.Response:
    return web.json_response(
        {
            "account_sid": fake.account_sid,
            "api_version": "2010-04-01",
            "body": message.text,
            "direction": "outbound-api",
            "error_code": None,
            "from": message.sender,
            "num_media": "0",
            "num_segments": "1",
            "sid": message.sid,
            "status": "queued",
            "to": message.to,
            "uri": f"/2010-04-01/Accounts/{fake.account_sid}/Messages/{message.sid}.json",
        },
        status=201,
    )


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
