"""The control plane's side of calls for a tenant: an HTTP client whose every call goes out as the tenant's."""

import httpx2

from subclaw.core.tenant import TenantId
from subclaw.egress.control.client import BASE_URL
from subclaw.egress.control.tenant_path import PREFIX

PORTS = {"https": 443, "http": 80}


class TenantTransport(httpx2.AsyncBaseTransport):
    """Carries calls to any host to the gateway, as a tenant's. `gateway` is of `gateway_client`, and stays open."""

    def __init__(self, gateway: httpx2.AsyncClient, tenant_id: TenantId) -> None:
        self._gateway = gateway
        self._tenant_id = tenant_id

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """See `httpx2.AsyncBaseTransport`. A URL that is not http or https is `httpx2.UnsupportedProtocol`."""
        url = request.url
        if url.scheme not in PORTS:
            raise httpx2.UnsupportedProtocol(f"{url.scheme!r} is neither http nor https.", request=request)
        host = url.raw_host.decode("ascii").lower()
        port = url.port or PORTS[url.scheme]
        path = f"{PREFIX}{self._tenant_id}/{url.scheme}/{host}:{port}".encode() + url.raw_path
        outer = httpx2.Request(
            request.method,
            httpx2.URL(BASE_URL).copy_with(raw_path=path),
            headers=request.headers,
            stream=request.stream,
            extensions=request.extensions,
        )
        answer = await self._gateway.send(outer, stream=True)
        return httpx2.Response(answer.status_code, headers=answer.headers, stream=answer.stream, request=request)


def tenant_client(gateway: httpx2.AsyncClient, tenant_id: TenantId, *, timeout_s: float) -> httpx2.AsyncClient:
    """Make a client whose calls are a tenant's: what they may reach is what its egress policy says; close it.

    Placeholders of the tenant's secrets become their values on the way, in the gateway. It follows no redirects.
    """
    return httpx2.AsyncClient(transport=TenantTransport(gateway, tenant_id), timeout=timeout_s, trust_env=False)
