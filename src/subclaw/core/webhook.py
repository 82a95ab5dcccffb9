"""Webhooks that go out: what they tell, how they are signed, when they are tried again. By Standard Webhooks 1.0."""

import base64
import hashlib
import hmac
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from urllib.parse import urlsplit

from subclaw.core.errors import Invalid
from subclaw.core.hostname import full_hostname

SECRET_PREFIX = "whsec_"
SECRET_BYTES = 32
URL_LIMIT_CHARACTERS = 2_000
RETRY_DELAYS_S = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""When a delivery that failed is tried again; after the last of these it is dead."""
PATIENCE = timedelta(days=5)
"""For how long an endpoint may fail before it is disabled."""
GONE = 410
"""By this status an endpoint says that it wants no more."""


class WebhookEvent(StrEnum):
    """What an agent's owner can be told."""

    SESSION_REPLIED = "session.replied"
    APPROVAL_REQUESTED = "approval.requested"
    TURN_FAILED = "turn.failed"
    CUSTOMER_ERASED = "customer.erased"


@dataclass(frozen=True, kw_only=True)
class WebhookUrl:
    """Where a webhook goes: a host by its name, by https. `target` is the path with the query."""

    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """The Host header's value."""
        return self.host if self.port == 443 else f"{self.host}:{self.port}"


def read_url(url: str) -> WebhookUrl:
    """Read an endpoint's URL. Errors: `Invalid`, in words for the owner."""
    try:
        parts = urlsplit(url)
        port = parts.port or 443
    except ValueError:
        raise Invalid("That is no URL.") from None
    whole = (
        len(url) <= URL_LIMIT_CHARACTERS and url.isascii() and url.isprintable() and not set(url) & set(' "<>\\^`{|}')
    )
    if parts.scheme != "https" or parts.username is not None or parts.fragment or not whole:
        raise Invalid("A webhook goes to an https URL with neither a user nor a fragment.")
    path = parts.path or "/"
    return WebhookUrl(
        host=full_hostname(parts.hostname or ""), port=port, target=f"{path}?{parts.query}" if parts.query else path
    )


def signature(secret: str, id: str, timestamp: int, body: bytes) -> str:
    """Return the `webhook-signature` of a message. `secret` is `whsec_` and Base64."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = f"{id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def seal_label(endpoint_id: str) -> str:
    """Return what an endpoint's secret is sealed for."""
    return f"webhook {endpoint_id}"


def delay_s(attempt: int, retry_after_s: float) -> float | None:
    """Return when to try again after the try number `attempt`, of which the first is 1; None if there were enough."""
    if attempt > len(RETRY_DELAYS_S):
        return None
    return max(float(RETRY_DELAYS_S[attempt - 1]), min(retry_after_s, 86_400.0))
