"""The endpoint by which the control plane has an account connected: `POST /-/oauth/connect`.

It takes `{"flow": 7, "code": "…"}` and answers `{"connected": true}`, or `{"connected": false, "why": "…"}` in words
for the person. What else there is to know of the flow is in the database; a token never comes back.
"""

import json

from subclaw.core.errors import Corrupt, SubclawError
from subclaw.egress.http.door import Door
from subclaw.egress.http.request import Request
from subclaw.egress.oauth.accounts import Accounts
from subclaw.egress.refusal import Refusal

CLAIM_LIMIT_BYTES = 16_384
CODE_LIMIT_CHARACTERS = 4_096


async def answer_connect(door: Door, request: Request, accounts: Accounts) -> bool:
    """Connect an account; return whether the connection can go on. Errors: `Refusal` with 400 for what is no claim."""
    if request.method != b"POST":
        raise Refusal(405, "that method is not allowed")
    body, ended = await door.gather(CLAIM_LIMIT_BYTES)
    if not ended:
        raise Refusal(413, f"a claim has at most {CLAIM_LIMIT_BYTES:,} bytes")
    flow, code = _claim(body)
    try:
        await accounts.connect(flow, code)
    except Corrupt:
        raise
    except SubclawError as error:
        return await door.answer(200, {"connected": False, "why": error.public})
    return await door.answer(200, {"connected": True})


def _claim(body: bytes) -> tuple[int, str]:
    try:
        claim = json.loads(body)
    except (ValueError, RecursionError):
        claim = None
    match claim:
        case {"flow": int(flow), "code": str(code), **rest} if not rest and 0 < len(code) <= CODE_LIMIT_CHARACTERS:
            return flow, code
    raise Refusal(400, "a claim has a flow and a code")
