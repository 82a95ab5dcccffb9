"""The endpoint by which the control plane has a webhook sent: `POST /-/webhook`.

It takes where the webhook goes, the sealed secret of that endpoint, and the message; the gateway signs it, sends it,
and answers with what came of it. Where the URL's host leads is checked at each try, as it is for machines: the
operator's own networks are not reached by what an owner typed. No redirect is followed.
"""

import asyncio
import base64
import binascii
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from nacl.public import PrivateKey, SealedBox

from subclaw.core.errors import Corrupt, Invalid, SubclawError
from subclaw.core.webhook import WebhookUrl, read_url, seal_label, signature
from subclaw.egress.http.door import Door
from subclaw.egress.http.link import Link, Unanswered
from subclaw.egress.http.message import Response
from subclaw.egress.http.request import Request
from subclaw.egress.limits import Limits
from subclaw.egress.outside import Outside, dial_host
from subclaw.egress.refusal import Refusal
from subclaw.egress.vault import open_seal

CLAIM_LIMIT_BYTES = 100_000
SEND_LIMIT_S = 20.0
"""How long an endpoint may take for its answer: Standard Webhooks says 15 to 30."""


@dataclass(frozen=True, kw_only=True)
class Webhooks:
    """What sends webhooks. `addresses_of` says where the operator says a host and port are, if that is said."""

    key: PrivateKey
    outside: Outside
    limits: Limits
    addresses_of: Callable[[str, int], Awaitable[Sequence[str]]]


async def nowhere(host: str, port: int) -> Sequence[str]:
    """Say that the operator says nothing of a host."""
    return ()


@dataclass(frozen=True, kw_only=True)
class _Claim:
    """A webhook that is to be sent."""

    url: WebhookUrl
    endpoint: str
    sealed: bytes
    id: str
    timestamp: int
    body: bytes


async def answer_webhook(door: Door, request: Request, webhooks: Webhooks) -> bool:
    """Send a webhook, and answer what became of it; return whether the connection can go on.

    The answer's `status` is 0 if there was none of the endpoint's, and then `reason` says why. Errors: `Refusal`.
    """
    if request.method != b"POST":
        raise Refusal(405, "that method is not allowed", unsent=True)
    body, ended = await door.gather(CLAIM_LIMIT_BYTES)
    if not ended:
        raise Refusal(413, f"a webhook has at most {CLAIM_LIMIT_BYTES:,} bytes", unsent=True)
    claim = _claim(body)
    try:
        async with asyncio.timeout(SEND_LIMIT_S):
            response = await _sent(webhooks, claim)
    except TimeoutError:
        return await door.answer(200, {"status": 0, "reason": "it did not answer in time", "retry_after": ""})
    except SubclawError as error:
        return await door.answer(200, {"status": 0, "reason": error.public, "retry_after": ""})
    except (Unanswered, ConnectionError):
        return await door.answer(200, {"status": 0, "reason": "it ended the connection", "retry_after": ""})
    retry_after = next((value for name, value in response.headers if name.lower() == b"retry-after"), b"")
    return await door.answer(
        200, {"status": response.status, "reason": "", "retry_after": retry_after[:20].decode("latin-1")}
    )


async def _sent(webhooks: Webhooks, claim: _Claim) -> Response:
    """Send one webhook over a connection of its own. Errors: `SubclawError`, `Unanswered`, `ConnectionError`."""
    secret = open_seal(SealedBox(webhooks.key), claim.sealed, seal_label(claim.endpoint)).reveal()
    url, limits = claim.url, webhooks.limits
    addresses = await webhooks.addresses_of(url.host, url.port)
    wire = await dial_host(webhooks.outside, url.host, url.port, addresses, tls=True, connect_s=limits.connect_s)
    try:
        link = Link(wire, limits)
        await link.send_head(b"POST", url.target, _headers(claim, secret), claim.body, ended=True)
        return await link.response()
    except ValueError:
        raise Invalid("that URL cannot be asked for") from None
    finally:
        wire.abort()


def _headers(claim: _Claim, secret: str) -> list[tuple[bytes, bytes]]:
    signed = signature(secret, claim.id, claim.timestamp, claim.body)
    return [
        (b"host", claim.url.authority.encode()),
        (b"content-type", b"application/json"),
        (b"content-length", str(len(claim.body)).encode()),
        (b"user-agent", b"subclaw"),
        (b"webhook-id", claim.id.encode()),
        (b"webhook-timestamp", str(claim.timestamp).encode()),
        (b"webhook-signature", signed.encode()),
        (b"connection", b"close"),
    ]


def _claim(body: bytes) -> _Claim:
    """Return what is to be sent. Errors: `Refusal`."""
    try:
        match json.loads(body):
            case {
                "url": str(url),
                "endpoint": str(endpoint),
                "sealed": str(sealed),
                "id": str(id),
                "timestamp": int(timestamp),
                "body": str(text),
            }:
                return _Claim(
                    url=read_url(url),
                    endpoint=endpoint,
                    sealed=base64.b64decode(sealed, validate=True),
                    id=id,
                    timestamp=timestamp,
                    body=text.encode(),
                )
    except (ValueError, RecursionError, binascii.Error, Invalid, Corrupt):
        pass
    raise Refusal(400, "that is no webhook that could be sent", unsent=True)
