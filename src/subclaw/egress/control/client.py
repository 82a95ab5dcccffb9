"""The control plane's side of the gateway: an HTTP client that goes through it, and the question about signatures."""

from collections.abc import Mapping
from pathlib import Path

import httpx2

from subclaw.core.errors import Invalid, Unavailable
from subclaw.egress.control.transport import GatewayTransport
from subclaw.egress.control.verify_path import PREFIX, WEBHOOK_SECRET_PREFIX

BASE_URL = "http://egress"
"""What a provider's base URL begins with: `http://egress/<upstream>/…`. The host's name is never resolved."""

VERIFY_TIMEOUT_S = 5.0


def gateway_client(socket_path: Path, *, timeout_s: float = 300.0, connections: int = 100) -> httpx2.AsyncClient:
    """Make a client whose every call goes through the gateway, for providers' SDKs and for `verify`; close it.

    As many `connections` as said are kept for the next calls. It follows no redirects and reads no proxy settings.
    """
    transport = GatewayTransport(socket_path, kept=connections)
    return httpx2.AsyncClient(transport=transport, base_url=BASE_URL, timeout=timeout_s, trust_env=False)


async def verify(client: httpx2.AsyncClient, scheme: str, claim: Mapping[str, object]) -> bool:
    """Ask the gateway whether a webhook's signature is right; `claim` is what the scheme needs.

    Errors: `Unavailable` if it cannot be told (the gateway is down, no key is set), `Invalid` for a claim that the
    scheme does not understand.
    """
    try:
        response = await client.post(f"{BASE_URL}{PREFIX}{scheme}", json=claim, timeout=VERIFY_TIMEOUT_S)
    except (httpx2.TransportError, OSError) as error:
        raise Unavailable("Signatures cannot be checked now.", internal=type(error).__name__) from None
    if response.status_code in (400, 404, 413):
        raise Invalid("That is not a signed message.", internal=f"verify {scheme}: status {response.status_code}")
    if response.status_code != 200:
        raise Unavailable("Signatures cannot be checked now.", internal=f"verify: status {response.status_code}")
    return bool(response.json() == {"valid": True})


async def webhook_secret(client: httpx2.AsyncClient, scheme: str) -> str:
    """Return what the provider is to be told to send along with its webhooks. Errors: `Unavailable`."""
    try:
        response = await client.post(f"{BASE_URL}{WEBHOOK_SECRET_PREFIX}{scheme}", timeout=VERIFY_TIMEOUT_S)
    except (httpx2.TransportError, OSError) as error:
        raise Unavailable("Webhooks cannot be set up now.", internal=type(error).__name__) from None
    if response.status_code != 200:
        raise Unavailable("Webhooks cannot be set up now.", internal=f"secret: status {response.status_code}")
    return str(response.json()["secret"])
