"""Signatures of webhooks: how what a provider sends is told from what anybody else does."""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from subclaw.core.errors import Invalid

Check = Callable[[str, Mapping[str, object]], bool]
"""Takes the key's value and what is claimed (a JSON object), and says whether the claim is true. Errors: `Invalid`."""


@dataclass(frozen=True, kw_only=True)
class Signature:
    """How a provider proves that it sends. `secret` names the key, which only the gateway opens; `check` runs there.

    Without a `check` the provider sends a text of ours along, derived from the key (`webhook_secret`); what is claimed
    is that `secret`.
    """

    secret: str
    check: Check | None = None


def webhook_secret(key: str, scheme: str) -> str:
    """Return what a provider is told to send along with its webhooks: 64 hexadecimal digits.

    It follows from the key, so nobody has to keep it, all replicas agree on it, and it changes with the key; and the
    key does not follow from it.
    """
    return hmac.new(key.encode(), f"subclaw webhook {scheme}".encode(), hashlib.sha256).hexdigest()


def is_signed(signature: Signature, scheme: str, key: str, claim: Mapping[str, object]) -> bool:
    """Say whether a claim is true. Errors: `Invalid` if it is none."""
    if signature.check is not None:
        return signature.check(key, claim)
    given = claim.get("secret")
    if not isinstance(given, str):
        raise Invalid("a secret is needed")
    return hmac.compare_digest(webhook_secret(key, scheme).encode(), given.encode("utf-8", "replace"))
