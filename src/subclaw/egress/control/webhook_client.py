"""The control plane's side of sending webhooks."""

import base64
from dataclasses import dataclass

import httpx2

from subclaw.egress.control.client import BASE_URL
from subclaw.egress.control.webhook_path import PATH

CALL_LIMIT_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What became of a webhook: the endpoint's status, or 0 and the `reason` why there is none."""

    status: int
    reason: str
    retry_after_s: float


async def send_webhook(
    client: httpx2.AsyncClient, *, url: str, endpoint: str, sealed: bytes, id: str, timestamp: int, body: str
) -> Sent:
    """Have the gateway sign a webhook and send it. Never raises."""
    claim = {"url": url, "endpoint": endpoint, "id": id, "timestamp": timestamp, "body": body}
    claim["sealed"] = base64.b64encode(sealed).decode()
    try:
        response = await client.post(f"{BASE_URL}{PATH}", json=claim, timeout=CALL_LIMIT_S)
        answer = response.json()
        after = str(answer["retry_after"])
        return Sent(
            status=int(answer["status"]),
            reason=str(answer["reason"]),
            retry_after_s=float(after) if after.isascii() and after.isdecimal() else 0.0,
        )
    except (httpx2.HTTPError, OSError, ValueError, KeyError, TypeError) as error:
        return Sent(status=0, reason=f"the gateway did not send it ({type(error).__name__})", retry_after_s=0.0)
