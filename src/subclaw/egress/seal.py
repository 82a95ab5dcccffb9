"""Sealing: turning a secret into bytes that only the egress gateway can open. Anybody may import this."""

from nacl.public import PublicKey, SealedBox

from subclaw.core.errors import Invalid

VALUE_LIMIT_CHARACTERS = 8_192
"""Longest value of a secret. Keys and tokens are far shorter, and a request head has to hold them."""


def seal(public_key: bytes, value: str) -> bytes:
    """Seal a value to the gateway's public key (32 bytes, from `read_public_key`).

    Sealing the same value twice gives different bytes. Source: libsodium, "Sealed boxes".
    Errors: `Invalid` for an empty or overlong value, or one that is not text that can be encoded, never quoting it.
    """
    if not 0 < len(value) <= VALUE_LIMIT_CHARACTERS:
        raise Invalid(f"A secret has between 1 and {VALUE_LIMIT_CHARACTERS:,} characters.")
    try:
        plain = value.encode()
    except UnicodeEncodeError:
        raise Invalid("That secret holds characters that are not text.") from None
    return SealedBox(PublicKey(public_key)).encrypt(plain)
