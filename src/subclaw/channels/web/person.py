"""Who is at the other end of the web chat: a random token in a cookie, and nothing else.

The token is the whole credential, so it is in no page, no store and no log: the address is its hash.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping

from starlette.responses import Response

from subclaw.core.channel import Address
from subclaw.pages.request import is_https

_TOKEN_BYTES = 32
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_COOKIE_AGE_S = 400 * 24 * 3600
"""The longest that browsers keep a cookie (RFC 6265bis, section 5.5)."""


def new_token() -> str:
    """Return 256 random bits as 43 URL-safe characters."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def is_token(text: str) -> bool:
    """Tell whether a text has the form of a token."""
    return _TOKEN.fullmatch(text) is not None


def web_address(token: str) -> Address:
    """Return the address of whoever holds the token."""
    return Address(channel="web", address=hashlib.sha256(token.encode("ascii")).hexdigest())


def cookie_name(public_url: str) -> str:
    """Return the cookie's name.

    Tenants' sites live on hostnames beside or below the chat's, and a site could set a cookie for its parent domain, so
    that a visitor would go on in somebody else's conversation. With https the `__Host-` prefix forbids it
    (RFC 6265bis, section 4.1.3.2).
    """
    return "__Host-subclaw_web" if is_https(public_url) else "subclaw_web"


def token_of(cookies: Mapping[str, str], public_url: str) -> str | None:
    """Return the token that a request's cookies hold, or None."""
    token = cookies.get(cookie_name(public_url), "")
    return token if is_token(token) else None


def set_token(response: Response, token: str, public_url: str) -> None:
    """Make the browser keep the token, out of reach of scripts."""
    response.set_cookie(
        cookie_name(public_url),
        token,
        max_age=_COOKIE_AGE_S,
        path="/",
        secure=is_https(public_url),
        httponly=True,
        samesite="lax",
    )
