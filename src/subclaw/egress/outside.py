"""What lies outside: how names are resolved, and whose certificates are believed."""

import ssl
from dataclasses import dataclass

from subclaw.egress.resolver import Resolver


@dataclass(frozen=True, kw_only=True)
class Outside:
    """The world as the gateway reaches it. `tls` checks certificates, and offers HTTP/1.1 alone."""

    resolver: Resolver
    tls: ssl.SSLContext
