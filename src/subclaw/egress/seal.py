"""Sealing: turning a secret into bytes that only the egress gateway can open. Anybody may import this."""

import json

from nacl.public import PublicKey, SealedBox

from subclaw.core.errors import Invalid

VALUE_LIMIT_CHARACTERS = 8_192
"""Longest value of a secret. Keys and tokens are far shorter, and a request head has to hold them."""


def seal(public_key: bytes, value: str, label: str) -> bytes:
    """Seal a value, with what it is for, to the gateway's public key (32 bytes, from `read_public_key`).

    The gateway uses it for nothing but what has that `label` (a secret's name, or `core.secret.label`). Sealing the
    same value twice gives different bytes. Source: libsodium, "Sealed boxes".
    Errors: `Invalid` for an empty or overlong value, or one that is not text that can be encoded, never quoting it.
    """
    if not 0 < len(value) <= VALUE_LIMIT_CHARACTERS:
        raise Invalid(f"A secret has between 1 and {VALUE_LIMIT_CHARACTERS:,} characters.")
    try:
        plain = json.dumps({"label": label, "value": value}, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Invalid("That secret holds characters that are not text.") from None
    return SealedBox(PublicKey(public_key)).encrypt(plain)
