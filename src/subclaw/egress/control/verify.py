"""The endpoint by which the control plane asks whether a webhook's signature is right: `POST /-/verify/SCHEME`."""

import json
from collections.abc import Mapping

from subclaw.core.errors import Corrupt, Invalid, NotFound, Unavailable
from subclaw.egress.control.signatures import SCHEMES
from subclaw.egress.control.verify_path import PREFIX
from subclaw.egress.http.door import Door
from subclaw.egress.http.request import Request
from subclaw.egress.refusal import Refusal
from subclaw.egress.vault import Vault

CLAIM_LIMIT_BYTES = 262_144


async def answer_verify(door: Door, request: Request, vault: Vault, signing_secrets: Mapping[str, str]) -> bool:
    """Answer `{"valid": true}` or false; return whether the connection can go on.

    `signing_secrets` says which secret a scheme's key is. Errors: `Refusal`: 404 for an unknown scheme, 400 for a claim
    that is none, 503 when the key is not set or cannot be had, so that nobody takes "cannot tell" for "wrong".
    """
    scheme = request.target.decode().removeprefix(PREFIX)
    check, name = SCHEMES.get(scheme), signing_secrets.get(scheme)
    if check is None:
        raise Refusal(404, "that signature scheme is not known")
    if request.method != b"POST":
        raise Refusal(405, "that method is not allowed")
    body, ended = await door.gather(CLAIM_LIMIT_BYTES)
    if not ended:
        raise Refusal(413, f"a claim has at most {CLAIM_LIMIT_BYTES:,} bytes")
    if name is None:
        raise Refusal(503, "no signing key is set for that scheme")
    try:
        claim = json.loads(body)
        if not isinstance(claim, dict):
            raise Refusal(400, "a claim is a JSON object")
        valid = check(await vault.secret(name), claim)
    except Invalid as error:
        raise Refusal(400, error.public) from None
    except (ValueError, RecursionError):
        raise Refusal(400, "a claim is a JSON object") from None
    except (NotFound, Unavailable, Corrupt) as error:
        raise Refusal(503, error.public) from None
    return await door.answer(200, {"valid": valid})
