"""Receipts of erasure: what was removed, signed, so that nobody can write one afterwards."""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from nacl.exceptions import CryptoError
from nacl.signing import SigningKey, VerifyKey


def customer_hash(agent: str, customer: str) -> str:
    """Return what stands for a customer in a receipt: who knows the customer can tell that it is theirs."""
    return hashlib.sha256(f"{agent} {customer}".encode()).hexdigest()


def signed(receipt: Mapping[str, Any], key: SigningKey) -> dict[str, Any]:
    """Return a receipt with the public `key` and the `signature`, which is of all the rest as canonical JSON."""
    whole = {**receipt, "key": _encoded(bytes(key.verify_key))}
    return {**whole, "signature": _encoded(key.sign(canonical(whole)).signature)}


def canonical(receipt: Mapping[str, Any]) -> bytes:
    """Return what is signed: JSON in ASCII, its names sorted, without spaces."""
    return json.dumps(dict(receipt), sort_keys=True, separators=(",", ":")).encode()


def is_genuine(receipt: Mapping[str, Any], key: str) -> bool:
    """Say whether a receipt was signed by the holder of a public key, as receipts have it."""
    rest = {name: value for name, value in receipt.items() if name != "signature"}
    try:
        VerifyKey(base64.b64decode(key)).verify(canonical(rest), base64.b64decode(str(receipt.get("signature"))))
    except (CryptoError, ValueError):
        return False
    return rest.get("key") == key


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
