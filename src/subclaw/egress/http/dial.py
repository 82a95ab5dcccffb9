"""Dialling: a connection to an address, with the certificate checked against the host's name."""

import asyncio
import ssl

from subclaw.egress.http.wire import BufferedWire, Wire
from subclaw.egress.refusal import Refusal


async def dial(host: str, address: str, port: int, tls: ssl.SSLContext | None, timeout_s: float) -> Wire:
    """Connect to an address (or a name, which is then resolved) as to `host`. Errors: `Refusal` with 502 or 504."""
    server_hostname = host if tls else None
    try:
        async with asyncio.timeout(timeout_s):
            _, wire = await asyncio.get_running_loop().create_connection(
                BufferedWire if tls else Wire, address, port, ssl=tls, server_hostname=server_hostname
            )
    except TimeoutError:
        raise Refusal(504, f"{host} did not accept a connection in time", unsent=True) from None
    except ssl.SSLCertVerificationError:
        raise Refusal(502, f"the certificate of {host} cannot be verified", unsent=True) from None
    except OSError as error:
        raise Refusal(
            502, f"{host} cannot be reached", internal=f"connect: {type(error).__name__}", unsent=True
        ) from None
    return wire
