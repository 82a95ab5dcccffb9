"""Who the operator is: whoever has the key. What the box makes of it, and sessions that any web process can check.

The key is made when a box starts and lies in a file that only root can read; web processes are given its SHA-256. A
session is a time and a nonce under a MAC whose key is that hash, so no process holds or shares a list of sessions, and
a new key ends them all. Whoever can read the hash could make a session: those are the web processes themselves.
"""

import base64
import hashlib
import hmac
import re
import secrets

KEY_BYTES = 32
SESSION_S = 12 * 3600
"""How long a session lasts. There is no list to strike it from: leaving deletes it from the browser."""

CLOCK_SKEW_S = 60
"""How far the clock of another web process may be ahead."""

_SESSION = re.compile(r"([0-9]{1,12})\.([A-Za-z0-9_-]{22})\.([A-Za-z0-9_-]{43})")


def new_key() -> str:
    """Return 256 random bits as 43 URL-safe characters."""
    return secrets.token_urlsafe(KEY_BYTES)


def hash_key(key: str) -> bytes:
    """Return what a web process knows of a key. The key is random, so a plain hash cannot be searched back."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def is_key(text: str, key_hash: bytes) -> bool:
    """Tell in constant time whether a text is the key."""
    return hmac.compare_digest(hash_key(text), key_hash)


def new_session(key_hash: bytes, now_s: float) -> str:
    """Return a session that began now (seconds since 1970)."""
    said = f"{int(now_s)}.{secrets.token_urlsafe(16)}"
    return f"{said}.{_mac(key_hash, said)}"


def is_session(text: str, key_hash: bytes, now_s: float) -> bool:
    """Tell whether a text is a session of this key that is not over."""
    parts = _SESSION.fullmatch(text)
    if parts is None:
        return False
    began, nonce, mac = parts.groups()
    if not hmac.compare_digest(mac, _mac(key_hash, f"{began}.{nonce}")):
        return False
    return -CLOCK_SKEW_S <= now_s - int(began) < SESSION_S


def _mac(key_hash: bytes, said: str) -> str:
    digest = hmac.digest(key_hash, b"subclaw console session " + said.encode("ascii"), "sha256")
    return base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")
