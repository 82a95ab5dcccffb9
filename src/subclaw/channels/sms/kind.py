"""SMS by Twilio, as a kind of channel."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from subclaw.channels.kind import ChannelKind, ChannelSetUp, Inside, Outside, Webhook
from subclaw.channels.sms.paths import STATUS_PATH, WEBHOOK_PATH
from subclaw.channels.sms.settings import MEDIA_UPSTREAM, SCHEME, TOKEN, UPSTREAM, TwilioSettings
from subclaw.channels.sms.words import PART_LIMIT
from subclaw.core.channel import Channel
from subclaw.core.errors import Invalid
from subclaw.core.secret import PLACEHOLDER
from subclaw.core.signature import Signature
from subclaw.core.upstream import Injection, Upstream, read_base_url

if TYPE_CHECKING:
    from fastapi import APIRouter


def read_sms(given: Mapping[str, str]) -> ChannelSetUp | None:
    """Return text messages as they are set up. Errors: `Invalid`."""
    sid, number = given.get("TWILIO_ACCOUNT_SID"), given.get("TWILIO_NUMBER")
    if not sid and not number:
        return None
    if not sid or not number:
        raise Invalid("For text messages, set TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN and TWILIO_NUMBER, all three.")
    if not re.fullmatch(r"\+[1-9][0-9]{5,14}", number):
        raise Invalid(f"TWILIO_NUMBER is {number!r}; it must be of the form +15551234567.")
    base_url = read_base_url(given, "TWILIO_BASE_URL", "https://api.twilio.com")
    media_url = read_base_url(given, "TWILIO_MEDIA_BASE_URL", "https://mms.twiliocdn.com")
    settings = TwilioSettings(account_sid=sid, number=number, base_url=base_url, media_url=media_url)
    return ChannelSetUp(
        kind=SMS,
        place=number,
        label="Text",
        upstreams=_upstreams(settings),
        signatures={SCHEME: Signature(secret=TOKEN, check=_check_signature)},
        webhooks=(Webhook(path=WEBHOOK_PATH, where="Twilio, the number's page, “A message comes in” (HTTP POST)"),),
        routes=_routes,
        open=partial(_open, settings),
        check=partial(_check, settings),
    )


def _upstreams(settings: TwilioSettings) -> tuple[Upstream, ...]:
    """Return where the API is, and where files are: there no credentials belong."""
    calls = Upstream(
        name=UPSTREAM,
        base_url=settings.base_url,
        injection=Injection.BASIC,
        user=settings.account_sid,
        secret=TOKEN,
    )
    return calls, Upstream(name=MEDIA_UPSTREAM, base_url=settings.media_url, methods=("GET",))


def _check_signature(key: str, claim: Mapping[str, object]) -> bool:
    from subclaw.channels.sms.signature import check_twilio

    return check_twilio(key, claim)


def _routes(inside: Inside) -> APIRouter:
    from subclaw.channels.sms.inbound import sms_router

    async def check(url: str, params: Mapping[str, str], signature: str) -> bool:
        return await inside.verify(SCHEME, {"url": url, "params": dict(params), "signature": signature})

    return sms_router(intake=inside.intake, reports=inside.reports, check_signature=check, public_url=inside.public_url)


@asynccontextmanager
async def _open(settings: TwilioSettings, outside: Outside) -> AsyncIterator[Channel]:
    from subclaw.channels.sms.channel import SmsChannel
    from subclaw.channels.sms.media import fetch_media
    from subclaw.channels.sms.twilio_client import twilio_client
    from subclaw.egress.control.client import BASE_URL, gateway_client

    async with (
        twilio_client(
            account_sid=settings.account_sid,
            auth_token=PLACEHOLDER,
            base_url=f"{BASE_URL}/{UPSTREAM}",
            socket=outside.gateway_socket,
        ) as client,
        gateway_client(outside.gateway_socket, timeout_s=60.0, connections=10) as files,
    ):
        # Twilio refuses a message whose receipts it could not bring.
        status_url = outside.public_url and outside.public_url + STATUS_PATH
        yield SmsChannel(
            client=client,
            from_number=settings.number,
            status_url=status_url,
            fetch=partial(fetch_media, files, settings.media_url),
        )


async def _check(settings: TwilioSettings, outside: Outside) -> str:
    async with _open(settings, outside) as channel:
        from subclaw.channels.sms.channel import SmsChannel

        assert isinstance(channel, SmsChannel)
        return await channel.check()


SMS = ChannelKind(
    name="sms",
    title="SMS",
    read=read_sms,
    variables=("TWILIO_ACCOUNT_SID", "TWILIO_NUMBER", "TWILIO_BASE_URL", "TWILIO_MEDIA_BASE_URL"),
    secrets={"TWILIO_AUTH_TOKEN": TOKEN},
    reply_limit_characters=3 * PART_LIMIT,  # nobody reads ten text messages
)
