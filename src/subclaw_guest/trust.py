"""Having a machine's programs trust the certificates that the egress gateway shows them.

Debian's programs, and those of Go, read one bundle of certificates. The gateway's is added to it, and is also put where
`update-ca-certificates` takes it from, whenever that makes the bundle anew.
"""

import contextlib
import os

from subclaw_guest.owned_files import opened, replace, start_of

BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
BUNDLE_LIMIT_BYTES = 4 * 1024**2
AUTHORITY = "/usr/local/share/ca-certificates/subclaw.crt"
AUTHORITY_LIMIT_BYTES = 16_384

ENVIRONMENT = {
    # OpenSSL looks in a folder by a digest of the name, where update-ca-certificates would have to put it: Python's ssl
    # and what builds on it (aiohttp, httpx, pip), Ruby, Rust.
    "SSL_CERT_FILE": BUNDLE,
    # requests, and so older pip and the AWS client, bring a bundle of their own.
    "REQUESTS_CA_BUNDLE": BUNDLE,
    # So do node, npm and bun, which add to theirs what is here.
    "NODE_EXTRA_CA_CERTS": AUTHORITY,
}
"""What tells programs that do not look into the bundle by themselves."""


def trust(authority: str) -> None:
    """Have all programs trust a certificate authority (PEM), instead of the one before it.

    Most starts find everything there and write nothing. A bundle that the tenant has replaced by something else stays,
    and a full disk changes nothing.
    """
    wanted = authority.encode()
    before = start_of(AUTHORITY, AUTHORITY_LIMIT_BYTES)
    with contextlib.suppress(OSError):
        if before != wanted or not ends_with(BUNDLE, wanted):
            bundle = content(BUNDLE)
            if wanted not in bundle:
                replace(BUNDLE, renewed(bundle, before, wanted))
    with contextlib.suppress(OSError):
        if before != wanted:
            os.makedirs(os.path.dirname(AUTHORITY), exist_ok=True)
            replace(AUTHORITY, wanted)


def ends_with(path: str, tail: bytes) -> bool:
    """Say whether a regular file ends with certain bytes, which are all that is read. Raises `OSError`."""
    with opened(path) as descriptor:
        return os.pread(descriptor, len(tail), max(0, os.fstat(descriptor).st_size - len(tail))) == tail


def content(path: str) -> bytes:
    """Return a regular file whole. Raises `OSError`, also for one that is too large."""
    with opened(path) as descriptor:
        size_bytes = os.fstat(descriptor).st_size
        if size_bytes > BUNDLE_LIMIT_BYTES:
            raise OSError(f"{path} is too large")
        return os.pread(descriptor, size_bytes, 0)


def renewed(bundle: bytes, before: bytes, wanted: bytes) -> bytes:
    """Return a bundle without the certificate of before and with the one that is wanted at its end."""
    if before:
        bundle = bundle.replace(before, b"")
    if bundle and not bundle.endswith(b"\n"):
        bundle += b"\n"
    return bundle + wanted
