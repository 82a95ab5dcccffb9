"""Session tokens: what a browser shows to talk in one session, for some minutes, signed with the owner's API key.

`sct_` and two parts in Base64, a dot between them: JSON that says the key's number, the session and until when, and
its Ed25519 signature.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime

from nacl.exceptions import CryptoError
from nacl.signing import VerifyKey

from subclaw.core.api_key import signing_key

TOKEN_PREFIX = "sct_"
LIFE_LIMIT_S = 24 * 3600
"""Longest life of a token: what has left the owner's server cannot be called back but with the key."""
_LIMIT_CHARACTERS = 1_000


@dataclass(frozen=True, kw_only=True)
class SessionToken:
    """What a token says: it is for `session`, until `expires_at`, and was signed with the key `key_id`."""

    key_id: int
    session: str
    expires_at: datetime


def sign_token(token: SessionToken, key: str) -> str:
    """Return a token, signed with an API key."""
    said = {"k": token.key_id, "s": token.session, "e": int(token.expires_at.timestamp())}
    content = json.dumps(said, separators=(",", ":")).encode()
    return f"{TOKEN_PREFIX}{_encoded(content)}.{_encoded(signing_key(key).sign(content).signature)}"


def read_token(text: str) -> tuple[SessionToken, bytes, bytes] | None:
    """Return what a token claims, with what is signed and the signature; None if it has no such form."""
    content, dot, signature = text.removeprefix(TOKEN_PREFIX).partition(".")
    if not (text.startswith(TOKEN_PREFIX) and dot and len(text) <= _LIMIT_CHARACTERS):
        return None
    try:
        raw = _decoded(content)
        match json.loads(raw):
            case {"k": int(key_id), "s": str(session), "e": int(expires)}:
                at = datetime.fromtimestamp(expires, UTC)
                return SessionToken(key_id=key_id, session=session, expires_at=at), raw, _decoded(signature)
    except (ValueError, OverflowError, OSError, RecursionError, binascii.Error):
        pass
    return None


def is_signed(content: bytes, signature: bytes, verify_key: bytes) -> bool:
    """Say whether a signature is right."""
    try:
        VerifyKey(verify_key).verify(content, signature)
    except (CryptoError, ValueError):
        return False
    return True


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
