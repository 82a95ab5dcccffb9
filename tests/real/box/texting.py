"""Text messages to a box, as Twilio reports them."""

import asyncio
from collections.abc import Mapping

import aiohttp
from tests.real.box.conftest import ACCOUNT, NUMBER, TOKEN
from tests.real.box.running import RunningBox

from subclaw.channels.sms.paths import WEBHOOK_PATH
from subclaw.testing.channels.twilio import deliver, inbound_sms

PERSON = "+15550100001"


def message(text: str, sender: str = PERSON) -> dict[str, str]:
    """Return what Twilio reports of a text message."""
    return inbound_sms(account_sid=ACCOUNT, sender=sender, to=NUMBER, text=text)


def signed_url(box: RunningBox) -> str:
    """Return the address that Twilio was given, and signs."""
    return f"http://localhost:{box.port}{WEBHOOK_PATH}"


def post(box: RunningBox, params: Mapping[str, str], headers: Mapping[str, str]) -> tuple[int, str]:
    """Post a webhook with headers of one's own; return the answer's status and text."""

    async def scenario() -> tuple[int, str]:
        url = box.url + WEBHOOK_PATH
        async with aiohttp.ClientSession() as session, session.post(url, data=params, headers=headers) as response:
            return response.status, await response.text()

    return asyncio.run(scenario())


def text_in(box: RunningBox, params: Mapping[str, str], copies: int = 1) -> list[tuple[int, str]]:
    """Post a signed webhook, in so many copies at once; return the answers' statuses and texts."""
    to_url, url = box.url + WEBHOOK_PATH, signed_url(box)
    return asyncio.run(deliver(to_url=to_url, signed_url=url, auth_token=TOKEN, params=params, copies=copies))
