"""The control plane's side of sending mail."""

from dataclasses import asdict

import httpx2

from subclaw.core.mail_relay import Handed, Mail, Step
from subclaw.egress.control.client import BASE_URL
from subclaw.egress.control.mail_path import PREFIX
from subclaw.egress.refusal import UNSENT_HEADER

CALL_LIMIT_S = 58.0


async def hand_over(client: httpx2.AsyncClient, relay: str, mail: Mail | None) -> Handed:
    """Have the gateway give a mail to a relay; without one, see whether the relay lets it in. Never raises."""
    claim = {} if mail is None else asdict(mail)
    try:
        response = await client.post(f"{BASE_URL}{PREFIX}{relay}", json=claim, timeout=CALL_LIMIT_S)
    except httpx2.ConnectError:
        return Handed(step=Step.REACH)
    except (httpx2.TransportError, OSError):
        return Handed(step=Step.LOST)
    if UNSENT_HEADER in response.headers:
        return Handed(step=Step.REACH)
    try:
        answer = response.json()
        return Handed(step=Step(answer["step"]), code=int(answer["code"]), status=str(answer["status"]))
    except (ValueError, KeyError, TypeError):
        return Handed(step=Step.LOST)
