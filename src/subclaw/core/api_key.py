"""API keys: what an owner's server shows to use the HTTP API, and what it may do with it.

A key is kept as a hash. Session tokens are signed by a key pair that follows from the key, so the owner's server can
make them by itself, and whoever reads the database cannot.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from nacl.encoding import URLSafeBase64Encoder
from nacl.signing import SigningKey

from subclaw.core.errors import Denied, Invalid

KEY_PREFIX = "sck_"
KEY_BYTES = 32
SHOWN_CHARACTERS = 10
_PURPOSE = b"subclaw session tokens"


class Scope(StrEnum):
    """What a key may be for."""

    AGENTS_READ = "agents:read"
    SESSIONS_READ = "sessions:read"
    SESSIONS_WRITE = "sessions:write"
    CUSTOMERS_READ = "customers:read"
    CUSTOMERS_WRITE = "customers:write"
    APPROVALS_READ = "approvals:read"
    APPROVALS_WRITE = "approvals:write"
    SCHEDULES_READ = "schedules:read"
    SCHEDULES_WRITE = "schedules:write"
    WEBHOOKS_READ = "webhooks:read"
    WEBHOOKS_WRITE = "webhooks:write"


@dataclass(frozen=True, kw_only=True)
class Principal:
    """Who makes a call: a key, for `scopes` and `agents` (for all agents if those are none).

    With a `session`, it is a session token that was signed with the key, and for that session alone.
    """

    key_id: int
    scopes: frozenset[Scope]
    agents: frozenset[str]
    session: str | None = None

    def require(self, scope: Scope) -> None:
        """Raise `Denied` unless the key has a scope."""
        if scope not in self.scopes:
            raise Denied(f"This key lacks the scope {scope}.")

    def sees(self, agent: str) -> bool:
        """Say whether the key is for an agent."""
        return not self.agents or agent in self.agents


def new_key(random: bytes) -> str:
    """Return a key of `KEY_BYTES` random bytes, as text."""
    return KEY_PREFIX + URLSafeBase64Encoder.encode(random).decode().rstrip("=")


def key_hash(key: str) -> bytes:
    """Return what a key is known by. It is long and random, so a plain SHA-256 cannot be turned round."""
    return hashlib.sha256(key.encode()).digest()


def signing_key(key: str) -> SigningKey:
    """Return what signs session tokens."""
    return SigningKey(hashlib.blake2b(_PURPOSE, key=hashlib.sha512(key.encode()).digest(), digest_size=32).digest())


def read_scopes(names: Collection[str]) -> frozenset[Scope]:
    """Return scopes by their names; `*` is all of them. Errors: `Invalid`, in words for the operator."""
    try:
        return frozenset(Scope) if "*" in names else frozenset(map(Scope, names))
    except ValueError:
        raise Invalid(f"A scope is one of: {', '.join(Scope)}; * is all of them.") from None
