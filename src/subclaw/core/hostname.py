"""Hostnames of the world outside: parsed once at the edge, so that everybody inside compares one spelling."""

import re

import idna

from subclaw.core.addresses import looks_like_address
from subclaw.core.errors import Invalid

LIMIT_CHARACTERS = 253
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def full_hostname(text: str) -> str:
    """Return a full hostname, of two labels or more, in lower-case ASCII and without a dot at its end.

    Letters, digits and hyphens are allowed in labels (RFC 1123, section 2.1); other scripts are brought into ASCII as
    browsers do (IDNA 2008, UTS 46). Errors: `Invalid`, in words, for anything else: addresses in whatever form, single
    labels, underscores, escapes, wildcards, ports.
    """
    if len(text) > LIMIT_CHARACTERS + 1:
        raise Invalid(f"A hostname has at most {LIMIT_CHARACTERS} characters.")
    name = _ascii(text).removesuffix(".")
    if len(name) > LIMIT_CHARACTERS:
        raise Invalid(f"A hostname has at most {LIMIT_CHARACTERS} characters.")
    labels = name.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise Invalid("A hostname consists of letters, digits and hyphens, in labels of 1 to 63 characters.")
    if looks_like_address(name):
        raise Invalid("That is an address; a hostname is needed.")
    if len(labels) < 2:
        raise Invalid("A full hostname is needed, such as api.example.com.")
    return name


def _ascii(text: str) -> str:
    if text.isascii():
        return text.lower()
    try:
        return idna.encode(text, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise Invalid("That is not a hostname in any script.", internal=f"IDNA: {type(error).__name__}") from None
