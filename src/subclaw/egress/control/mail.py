"""The endpoint by which the control plane has a mail sent: `POST /-/mail/RELAY`.

It takes `{"to": "ann@example.org", "tag": "…", "content": "…"}`, or `{}` to see whether the relay lets us in, and
answers with what became of it. There is no more to ask for than that: who is spoken to, as whom, and by what commands,
is the gateway's to say, so whoever holds the control plane can send a mail, and do nothing else with the account.
"""

import json
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from subclaw.core.errors import Corrupt, Invalid, NotFound, Unavailable
from subclaw.core.mail_relay import Mail, MailRelay
from subclaw.egress.control.mail_path import PREFIX
from subclaw.egress.http.door import Door
from subclaw.egress.http.request import Request
from subclaw.egress.refusal import Refusal
from subclaw.egress.vault import Vault

CLAIM_LIMIT_BYTES = 16_000_000
"""A mail with a file of 10 MB; the gateway takes no body above 16 MiB."""

_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}")
_TAG = re.compile(r"[A-Za-z0-9.-]{0,60}")


@dataclass(frozen=True, kw_only=True)
class Post:
    """The relays by name; `tls_of` returns what the certificate of one is checked with. Errors of that: `Invalid`."""

    relays: Mapping[str, MailRelay] = field(default_factory=dict)
    tls_of: Callable[[MailRelay], ssl.SSLContext] = lambda _: ssl.create_default_context()


async def answer_mail(door: Door, request: Request, vault: Vault, post: Post) -> bool:
    """Send a mail, and answer what became of it; return whether the connection can go on.

    Errors: `Refusal`, by which no mail went out.
    """
    from subclaw.egress.control.relay import hand_over  # its library is for those who have e-mail

    relay = post.relays.get(request.target.decode().removeprefix(PREFIX))
    if request.method != b"POST":
        raise Refusal(405, "that method is not allowed", unsent=True)
    if relay is None:
        raise Refusal(403, "no relay of that name is set up", unsent=True)
    mail = await _read_claim(door)
    try:
        password, tls = await vault.secret(relay.secret), post.tls_of(relay)
    except (NotFound, Corrupt, Invalid, Unavailable) as error:
        raise Refusal(503, error.public, unsent=True) from None
    handed = await hand_over(relay, password.reveal(), tls, mail)
    return await door.answer(200, {"step": handed.step, "code": handed.code, "status": handed.status})


async def _read_claim(door: Door) -> Mail | None:
    """Read the claim; it is in memory no longer than that, beside the mail. Errors: `Refusal`."""
    body, ended = await door.gather(CLAIM_LIMIT_BYTES)
    if not ended:
        raise Refusal(413, f"a mail has at most {CLAIM_LIMIT_BYTES:,} bytes", unsent=True)
    return _claim(body)


def _claim(body: bytes) -> Mail | None:
    """Return the mail; None if the relay is only to be tried. Errors: `Refusal`."""
    try:
        claim = json.loads(body)
    except (ValueError, RecursionError):
        claim = None
    match claim:
        case {"to": str(to), "tag": str(tag), "content": str(content), **rest} if not rest:
            if _ADDRESS.fullmatch(to) and _TAG.fullmatch(tag) and content.isascii() and "\0" not in content:
                return Mail(to=to, tag=tag, content=content)
        case {**rest} if not rest:
            return None
    raise Refusal(400, "a mail has a recipient, a tag and a content in ASCII", unsent=True)
