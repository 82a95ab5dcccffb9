"""Cross-signing: the account says itself that the device is its own. Clients send no keys to devices without that.

nio does not have it. Source: https://spec.matrix.org/v1.16/client-server-api/#cross-signing.
"""

import base64
from collections.abc import Mapping
from typing import Any

from nacl.encoding import RawEncoder
from nacl.signing import SigningKey
from nio import Api  # type: ignore[import-untyped]

from subclaw.channels.matrix.client import GatewayClient, ask_json

_USAGES = ("master", "self_signing", "user_signing")

Seeds = dict[str, str]
"""The seeds of the three keys, in base64, by what they are used for."""


def new_seeds() -> Seeds:
    """Return seeds for an account that has none."""
    return {usage: _base64(bytes(SigningKey.generate())) for usage in _USAGES}


def public_keys(user: str, seeds: Seeds) -> dict[str, Any]:
    """Return the keys as they are uploaded: the other two are signed by the master key."""
    master = _key(seeds["master"])
    found: dict[str, Any] = {}
    for usage in _USAGES:
        public = _public(_key(seeds[usage]))
        made = {"user_id": user, "usage": [usage], "keys": {f"ed25519:{public}": public}}
        found[f"{usage}_key"] = made if usage == "master" else _signed(made, user, master)
    return found


def sign_device(user: str, device: Mapping[str, Any], seeds: Seeds) -> dict[str, Any]:
    """Return a device's keys as its homeserver has them, signed by the account."""
    return _signed(
        {name: value for name, value in device.items() if name != "unsigned"}, user, _key(seeds["self_signing"])
    )


def is_signed(user: str, device: Mapping[str, Any], seeds: Seeds) -> bool:
    """Say whether a device's keys, as its homeserver has them, have this account's signature."""
    signatures = device.get("signatures")
    found = signatures.get(user) if isinstance(signatures, dict) else None
    return isinstance(found, dict) and f"ed25519:{_public(_key(seeds['self_signing']))}" in found


def self_signing_key(seeds: Seeds) -> str:
    """Return the public key that signs devices."""
    return _public(_key(seeds["self_signing"]))


async def keys_of(client: GatewayClient, user: str) -> Mapping[str, Any]:
    """Return what a homeserver says of an account's keys. Errors: as `ask_json`."""
    answer = await ask_json(client, "POST", "/v3/keys/query", {"device_keys": {user: []}})
    return answer if isinstance(answer, dict) else {}


async def upload(client: GatewayClient, user: str, seeds: Seeds) -> None:
    """Publish an account's keys, its first: if there are others, the password is wanted. Errors: as `ask_json`."""
    await ask_json(client, "POST", "/v3/keys/device_signing/upload", public_keys(user, seeds))


async def upload_signature(client: GatewayClient, user: str, device: Mapping[str, Any]) -> None:
    """Publish a device's keys with their new signature. Errors: as `ask_json`."""
    await ask_json(client, "POST", "/v3/keys/signatures/upload", {user: {str(device["device_id"]): device}})


def _signed(given: dict[str, Any], user: str, key: SigningKey) -> dict[str, Any]:
    bare = {name: value for name, value in given.items() if name not in ("signatures", "unsigned")}
    signature = _base64(key.sign(Api.to_canonical_json(bare).encode(), encoder=RawEncoder).signature)
    before = given.get("signatures", {})
    return {**bare, "signatures": {**before, user: {**before.get(user, {}), f"ed25519:{_public(key)}": signature}}}


def _key(seed: str) -> SigningKey:
    return SigningKey(base64.b64decode(f"{seed}=="))


def _public(key: SigningKey) -> str:
    return _base64(bytes(key.verify_key))


def _base64(content: bytes) -> str:
    """Return bytes as Matrix writes them: without what fills up."""
    return base64.b64encode(content).decode().rstrip("=")
