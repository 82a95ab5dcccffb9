"""Hostnames: parsed once, so that a Caddy matcher never sees a wildcard or a placeholder that somebody else wrote."""

import re

from subclaw.core.errors import Invalid

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LIMIT_CHARACTERS = 253


def parse_hostname(text: str) -> str:
    """Return a hostname in lower case: letters, digits and hyphens in labels (RFC 1123 §2.1, RFC 1035 §2.3.4).

    Errors: `Invalid` for everything else, wildcards, placeholders, ports and trailing dots included.
    """
    hostname = text.lower()
    if not is_hostname(hostname):
        raise Invalid("That is not a hostname.", internal="a hostname breaks the rules of RFC 1123")
    return hostname


def is_hostname(text: str) -> bool:
    """Say whether a text is a hostname as `parse_hostname` returns it."""
    return len(text) <= _LIMIT_CHARACTERS and all(_LABEL.fullmatch(label) for label in text.split("."))


def site_hostname(name: str, domain: str) -> str:
    """Return the hostname of the site `name`, which is one label under `domain`."""
    if "." in name:
        raise Invalid("A site's name is one label, without dots.")
    return parse_hostname(f"{name}.{domain}")


def site_url(hostname: str, *, port: int, scheme: str = "http") -> str:
    """Return the address that a visitor types; a scheme's own port is left out."""
    usual = {"http": 80, "https": 443}.get(scheme)
    return f"{scheme}://{hostname}/" if port == usual else f"{scheme}://{hostname}:{port}/"
