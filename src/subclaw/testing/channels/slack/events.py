"""What happens in Slack, and how it is told: signed, at once, and up to three times again.

Source: https://docs.slack.dev/apis/events-api.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import aiohttp
from slack_sdk.signature import SignatureVerifier

from subclaw.testing.channels.slack.state import APP, BOT, PERSON, Delivered, FakeSlack

EVENT_LIMIT_S = 3.0


def written(
    fake: FakeSlack, text: str, *, place: str = "D0ANN", user: str = PERSON, kind: str = "message", **more: Any
) -> dict[str, Any]:
    """Return the event for what a person wrote. `more` overrides or adds fields of the message."""
    number = next(fake.numbers)
    channel_type = {"D": "im", "G": "mpim"}.get(place[0], "channel")
    event = {
        "type": kind,
        "user": user,
        "text": text,
        "ts": f"1790000000.{number:06d}",
        "client_msg_id": f"00000000-0000-4000-8000-{number:012d}",
        "team": fake.team,
        "channel": place,
        "event_ts": f"1790000000.{number:06d}",
        "channel_type": channel_type,
    }
    return envelope(fake, event | more)


def envelope(fake: FakeSlack, event: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Return what Slack posts for an event. `more` overrides or adds fields of it."""
    return {
        "token": "a verification token of the old kind",
        "team_id": fake.team,
        "api_app_id": APP,
        "event": dict(event),
        "type": "event_callback",
        "event_id": f"Ev{next(fake.numbers):09d}",
        "event_time": int(time.time()),
        "authorizations": [
            {
                "enterprise_id": None,
                "team_id": fake.team,
                "user_id": BOT,
                "is_bot": True,
                "is_enterprise_install": False,
            }
        ],
        "is_ext_shared_channel": False,
        "event_context": "4-eyJldCI6Im1lc3NhZ2UifQ",
    } | more


async def say(fake: FakeSlack, told: Mapping[str, Any], *, deliveries: int = 1) -> bool:
    """Deliver an event as Slack does: at once, and up to three times again; return whether it was taken.

    With several `deliveries` it is delivered so often although it was taken.
    """
    body, taken, retry, reason = json.dumps(told).encode(), False, 0, ""
    for pause_s in (0.0, *fake.again_s):
        await asyncio.sleep(pause_s)
        headers = {"X-Slack-Retry-Num": str(retry), "X-Slack-Retry-Reason": reason} if retry else {}
        answer = await post(fake, body, headers)
        deliveries -= answer.status // 100 == 2
        taken = taken or answer.status // 100 == 2
        if deliveries <= 0 or answer.text == "no retry":
            break
        retry, reason = retry + 1, "http_error" if answer.status else "http_timeout"
    return taken


async def post(
    fake: FakeSlack, body: bytes, headers: Mapping[str, str] = MappingProxyType({}), *, signed_at: float | None = None
) -> Delivered:
    """Post a signed body once, as it stands. `headers` override or add some; an empty one is left out."""
    timestamp = str(int(time.time() if signed_at is None else signed_at))
    signature = SignatureVerifier(fake.signing_secret).generate_signature(timestamp=timestamp, body=body)
    sent = {
        "Content-Type": "application/json",
        "User-Agent": "Slackbot 1.0 (+https://api.slack.com/robots)",
        "X-Slack-Request-Timestamp": timestamp,
        "X-Slack-Signature": signature or "",
    } | dict(headers)
    retry = int(headers.get("X-Slack-Retry-Num", "0"))
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=EVENT_LIMIT_S)) as session,
            session.post(fake.events_to, data=body, headers={k: v for k, v in sent.items() if v}) as response,
        ):
            text = "no retry" if response.headers.get("X-Slack-No-Retry") == "1" else await response.text()
            delivered = Delivered(retry=retry, status=response.status, text=text)
    except (aiohttp.ClientError, TimeoutError):
        delivered = Delivered(retry=retry, status=0, text="")
    fake.deliveries.append(delivered)
    return delivered
