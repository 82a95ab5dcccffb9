"""The control plane's side of the gateway: an HTTP client that goes through it, and the question about signatures."""

import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx2

from subclaw.core.errors import Invalid, Unavailable
from subclaw.egress.control.verify_path import PREFIX

BASE_URL = "http://egress"
"""What a provider's base URL begins with: `http://egress/<upstream>/…`. The host's name is never resolved."""

VERIFY_TIMEOUT_S = 5.0
POOL_CONNECTIONS = 64
"""Connections of one pool: what a call costs grows with them."""

CONNECT_RETRIES = 5
"""A gateway that does not run is being started anew: tried again after 0, 0.5, 1, 2 and 4 seconds."""


def gateway_client(socket_path: Path, *, timeout_s: float = 300.0, connections: int = 100) -> httpx2.AsyncClient:
    """Make a client whose every call goes through the gateway, for providers' SDKs and for `verify`; close it.

    It follows no redirects and reads no proxy settings.
    """
    pools = [_pool(socket_path) for _ in range(-(-connections // POOL_CONNECTIONS))]
    return httpx2.AsyncClient(transport=_Pools(pools), base_url=BASE_URL, timeout=timeout_s, trust_env=False)


def _pool(socket_path: Path) -> httpx2.AsyncHTTPTransport:
    return httpx2.AsyncHTTPTransport(
        uds=str(socket_path),
        verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # no TLS on a unix socket: spares loading the authorities
        trust_env=False,
        retries=CONNECT_RETRIES,
        limits=httpx2.Limits(
            max_connections=POOL_CONNECTIONS, max_keepalive_connections=POOL_CONNECTIONS, keepalive_expiry=60
        ),
    )


class _Pools(httpx2.AsyncBaseTransport):
    """Several pools of connections, of which each call takes the one with the fewest calls under way."""

    def __init__(self, pools: Sequence[httpx2.AsyncHTTPTransport]) -> None:
        self._pools = pools
        self._under_way = [0] * len(pools)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """See `httpx2.AsyncBaseTransport`. A call is under way until its answer's head is there."""
        index = self._under_way.index(min(self._under_way))
        self._under_way[index] += 1
        try:
            return await self._pools[index].handle_async_request(request)
        finally:
            self._under_way[index] -= 1

    async def aclose(self) -> None:
        """Close every connection."""
        for pool in self._pools:
            await pool.aclose()


async def verify(client: httpx2.AsyncClient, scheme: str, claim: Mapping[str, object]) -> bool:
    """Ask the gateway whether a webhook's signature is right; `claim` is what the scheme needs.

    For "twilio": `url` (as the caller used it), `params` (the form's fields), `signature` (the header).
    Errors: `Unavailable` if it cannot be told (the gateway is down, no key is set), `Invalid` for a claim or a scheme
    that the gateway does not understand.
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
