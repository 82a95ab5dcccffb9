"""The control plane's side of connecting an account."""

import httpx2

from subclaw.core.errors import Denied, Unavailable
from subclaw.egress.control.client import BASE_URL
from subclaw.egress.control.connect_path import PATH

TIMEOUT_S = 40.0
_UNKNOWN = "Whether the account is connected is not known. Ask your agent, and for another link if it is not."


async def connect_account(client: httpx2.AsyncClient, flow_id: int, code: str) -> None:
    """Have the gateway get and store the tokens of a person who came back with a code.

    Errors: `Denied`, with words for the person, if nothing was stored; `Unavailable` if that is not known.
    """
    try:
        response = await client.post(f"{BASE_URL}{PATH}", json={"flow": flow_id, "code": code}, timeout=TIMEOUT_S)
    except (httpx2.TransportError, OSError) as error:
        raise Unavailable(_UNKNOWN, internal=type(error).__name__) from None
    answer = response.json() if response.status_code == 200 else None
    match answer:
        case {"connected": True}:
            return
        case {"connected": False, "why": str(why)}:
            raise Denied(why)
    raise Unavailable(_UNKNOWN, internal=f"connect: status {response.status_code}")
