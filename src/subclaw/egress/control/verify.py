"""What the control plane asks about webhooks: whether a signature is right, and what a provider is to send along.

`POST /-/verify/SCHEME` with a claim, and `POST /-/webhook-secret/SCHEME` for schemes whose secret follows from a key.
"""

import json
from collections.abc import Mapping

from subclaw.core.errors import Corrupt, Invalid, NotFound, Unavailable
from subclaw.core.signature import Signature, is_signed, webhook_secret
from subclaw.egress.control.verify_path import PREFIX, WEBHOOK_SECRET_PREFIX
from subclaw.egress.http.door import Door
from subclaw.egress.http.request import Request
from subclaw.egress.refusal import Refusal
from subclaw.egress.vault import Vault

CLAIM_LIMIT_BYTES = 4_500_000
"""A webhook of 3 MB, in Base64: providers put several messages into one."""


async def answer_verify(door: Door, request: Request, vault: Vault, signatures: Mapping[str, Signature]) -> bool:
    """Answer `{"valid": true}` or false; return whether the connection can go on.

    Errors: `Refusal`: 400 for a claim that is none, 503 when the scheme's key is not set or cannot be had, so that
    nobody takes "cannot tell" for "wrong".
    """
    scheme = request.target.decode().removeprefix(PREFIX)
    if request.method != b"POST":
        raise Refusal(405, "that method is not allowed")
    body, ended = await door.gather(CLAIM_LIMIT_BYTES)
    if not ended:
        raise Refusal(413, f"a claim has at most {CLAIM_LIMIT_BYTES:,} bytes")
    signature = _known(signatures, scheme)
    try:
        claim = json.loads(body)
        if not isinstance(claim, dict):
            raise Refusal(400, "a claim is a JSON object")
        valid = is_signed(signature, scheme, await _key(vault, signature), claim)
    except Invalid as error:
        raise Refusal(400, error.public) from None
    except (ValueError, RecursionError):
        raise Refusal(400, "a claim is a JSON object") from None
    return await door.answer(200, {"valid": valid})


async def answer_webhook_secret(
    door: Door, request: Request, vault: Vault, signatures: Mapping[str, Signature]
) -> bool:
    """Answer `{"secret": "…"}`: what a provider is to be told. Errors: `Refusal`, as above."""
    scheme = request.target.decode().removeprefix(WEBHOOK_SECRET_PREFIX)
    if request.method != b"POST":
        raise Refusal(405, "that method is not allowed")
    await door.gather(0)
    signature = _known(signatures, scheme)
    if signature.check is not None:
        raise Refusal(404, "that scheme has no such secret")
    return await door.answer(200, {"secret": webhook_secret(await _key(vault, signature), scheme)})


def _known(signatures: Mapping[str, Signature], scheme: str) -> Signature:
    if scheme not in signatures:
        raise Refusal(503, "no signing key is set for that scheme")
    return signatures[scheme]


async def _key(vault: Vault, signature: Signature) -> str:
    try:
        return (await vault.secret(signature.secret)).reveal()
    except (NotFound, Unavailable, Corrupt) as error:
        raise Refusal(503, error.public) from None
