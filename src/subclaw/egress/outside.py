"""What lies outside: how names are resolved, whose certificates are believed, and connecting to a host there."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from subclaw.core.errors import NotFound
from subclaw.egress.http.dial import dial
from subclaw.egress.http.wire import Wire
from subclaw.egress.names.resolver import Resolver, checked
from subclaw.egress.refusal import Refusal

ADDRESSES_TRIED = 4


@dataclass(frozen=True, kw_only=True)
class Outside:
    """The world as the gateway reaches it. `tls` checks certificates, and offers HTTP/1.1 alone."""

    resolver: Resolver
    tls: ssl.SSLContext


async def dial_host(
    outside: Outside, host: str, port: int, addresses: Sequence[str], *, tls: bool, connect_s: float
) -> Wire:
    """Connect to a host anew, at the addresses that the operator says, if any.

    Else its name is resolved, and what it resolves to is checked each time.
    Errors: `Refusal`, `Unavailable`; `Denied` if it must not be reached where its name leads.
    """
    try:
        found = [ip_address(address) for address in addresses] or checked(host, await outside.resolver.resolve(host))
    except NotFound as error:
        raise Refusal(502, error.public) from None
    refusal = Refusal(502, f"{host} has no address")
    for address in found[:ADDRESSES_TRIED]:
        try:
            return await dial(host, str(address), port, outside.tls if tls else None, connect_s)
        except Refusal as error:
            refusal = error
    raise refusal
