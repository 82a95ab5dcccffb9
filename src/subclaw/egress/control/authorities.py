"""Certificate authorities that the operator names: copied as root, so that the gateway's user can read them."""

import re
import ssl
from pathlib import Path

from subclaw.core.errors import Invalid

LIMIT_BYTES = 4 * 1024 * 1024
"""Far more than a system's whole bundle has."""

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


def keep_authorities(named: Path, kept: Path) -> None:
    """Copy the certificates of a file in PEM to where everybody can read them; a key beside them stays where it is.

    Errors: `Invalid`, which names the file.
    """
    try:
        with named.open("rb") as file:
            found = b"".join(one + b"\n" for one in _CERTIFICATE.findall(file.read(LIMIT_BYTES))) or b"\n"
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=found.decode("ascii"))
    except OSError as error:
        why = "it holds no certificates in PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise Invalid(f"{named} cannot be read as certificate authorities: {why}.") from error
    kept.write_bytes(found)
    kept.chmod(0o644)
