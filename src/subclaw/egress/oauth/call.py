"""One call to a provider's endpoint, by the gateway itself: bounded, to checked addresses, following nothing."""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote_plus, urlencode, urlsplit

from subclaw.core.errors import SubclawError, Unavailable
from subclaw.core.hostname import full_hostname
from subclaw.core.policy import HTTPS_PORT
from subclaw.egress.http.headers import Headers
from subclaw.egress.http.link import Link, Unanswered
from subclaw.egress.limits import Limits
from subclaw.egress.outside import Outside, dial_host
from subclaw.egress.secrets.opened import Opened

CALL_S = 15.0
ANSWER_LIMIT_BYTES = 65_536


@dataclass(frozen=True, kw_only=True)
class Client:
    """Who we are at a provider: with `basic` in Basic authentication, else in the form. No key: a public client."""

    id: str
    key: Opened | None
    basic: bool


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A provider's answer."""

    status: int
    media_type: str
    body: bytes


def host_of(url: str) -> tuple[str, int]:
    """Return the host and port of a provider's URL. Errors: `Invalid`."""
    parts = urlsplit(url)
    return full_hostname(parts.hostname or ""), parts.port or HTTPS_PORT


async def post_form(
    outside: Outside, url: str, form: Mapping[str, str], client: Client, addresses: Sequence[str]
) -> Reply:
    """Send a form to a provider's endpoint. `addresses`, if any, are where it is.

    Errors: `Unavailable`, with words for the person; what of the call reached the provider is then unknown.
    """
    host, port = host_of(url)
    try:
        async with asyncio.timeout(CALL_S):
            wire = await dial_host(outside, host, port, addresses, tls=True, connect_s=CALL_S)
            try:
                return await _converse(Link(wire, Limits(idle_s=CALL_S)), url, form, client)
            finally:
                wire.abort()
    except (SubclawError, Unanswered, ConnectionError, TimeoutError) as error:
        reason = error.internal if isinstance(error, SubclawError) else type(error).__name__
        raise Unavailable(f"{host} could not be asked just now.", internal=f"{host}: {reason}") from None


async def _converse(link: Link, url: str, form: Mapping[str, str], client: Client) -> Reply:
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    fields, authorization = _identified(form, client)
    body = urlencode(fields).encode("ascii")
    headers: Headers = [
        (b"host", parts.netloc.encode("ascii")),
        (b"content-type", b"application/x-www-form-urlencoded"),
        (b"accept", b"application/json"),
        (b"accept-encoding", b"identity"),
        (b"user-agent", b"subclaw"),
        (b"content-length", b"%d" % len(body)),
        *authorization,
    ]
    await link.send_head(b"POST", target, headers, body, ended=True)
    response = await link.response()
    answer = b""
    while piece := await link.body():
        answer += piece
        if len(answer) > ANSWER_LIMIT_BYTES:
            raise Unavailable("The answer is too long.")
    types = [value for name, value in response.headers if name == b"content-type"]
    media_type = types[0].partition(b";")[0].strip().lower().decode("latin-1") if types else ""
    return Reply(status=response.status, media_type=media_type, body=answer)


def _identified(form: Mapping[str, str], client: Client) -> tuple[Mapping[str, str], Headers]:
    """Return the form and the headers that say who we are (RFC 6749, section 2.3.1)."""
    if client.key is None:
        return {**form, "client_id": client.id}, []
    if not client.basic:
        return {**form, "client_id": client.id, "client_secret": client.key.reveal()}, []
    pair = f"{quote_plus(client.id)}:{quote_plus(client.key.reveal())}".encode("ascii")
    return form, [(b"authorization", b"Basic " + base64.b64encode(pair))]
