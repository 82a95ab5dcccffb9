"""WhatsApp, as a kind of channel."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from subclaw.channels.kind import ChannelKind, ChannelSetUp, Inside, Outside, Webhook
from subclaw.channels.whatsapp.countries import read_countries
from subclaw.channels.whatsapp.settings import (
    APP_SECRET,
    CHALLENGE_SCHEME,
    FILES_UPSTREAM,
    SCHEME,
    TOKEN,
    UPSTREAM,
    WEBHOOK_PATH,
    Template,
    WhatsAppSettings,
)
from subclaw.core.channel import Channel
from subclaw.core.errors import Invalid
from subclaw.core.signature import Signature
from subclaw.core.upstream import Upstream, read_base_url

if TYPE_CHECKING:
    from fastapi import APIRouter

_WHERE = (
    "Meta, the app's page, WhatsApp, Configuration, “Callback URL”, with the verify token that "
    "`subclaw channels doctor` says; subscribe to “messages”"
)


def read_whatsapp(given: Mapping[str, str]) -> ChannelSetUp | None:
    """Return WhatsApp as it is set up. Errors: `Invalid`."""
    phone_number_id, number = given.get("WHATSAPP_PHONE_NUMBER_ID", ""), given.get("WHATSAPP_NUMBER", "")
    if not phone_number_id and not number:
        return None
    if not re.fullmatch(r"[0-9]{5,30}", phone_number_id):
        raise Invalid(f"WHATSAPP_PHONE_NUMBER_ID is {phone_number_id!r}; it must be Meta's id of the number.")
    if not re.fullmatch(r"\+[1-9][0-9]{5,14}", number):
        raise Invalid(f"WHATSAPP_NUMBER is {number!r}; it must be of the form +15551234567.")
    settings = WhatsAppSettings(
        phone_number_id=phone_number_id,
        number=number,
        countries=read_countries(given.get("WHATSAPP_COUNTRIES", "")),
        template=_template(given.get("WHATSAPP_TEMPLATE", "")),
        base_url=read_base_url(given, "WHATSAPP_BASE_URL", "https://graph.facebook.com"),
        files_url=read_base_url(given, "WHATSAPP_FILES_BASE_URL", "https://lookaside.fbsbx.com"),
    )
    return ChannelSetUp(
        kind=WHATSAPP,
        place=f"https://wa.me/{number.removeprefix('+')}",
        label="WhatsApp",
        upstreams=(
            Upstream(name=UPSTREAM, base_url=settings.base_url, secret=TOKEN),
            Upstream(name=FILES_UPSTREAM, base_url=settings.files_url, secret=TOKEN, methods=("GET",)),
        ),
        signatures={
            SCHEME: Signature(secret=APP_SECRET, check=_check_signature),
            CHALLENGE_SCHEME: Signature(secret=APP_SECRET),
        },
        webhooks=(Webhook(path=WEBHOOK_PATH, where=_WHERE),),
        routes=partial(_routes, settings),
        open=partial(_open, settings),
        check=partial(_check, settings),
    )


def _template(text: str) -> Template | None:
    if not text:
        return None
    match = re.fullmatch(r"([a-z0-9_]{1,512}):([a-z]{2,3}(?:_[A-Z]{2,3})?)", text)
    if match is None:
        raise Invalid(f"WHATSAPP_TEMPLATE is {text!r}; it must be a template's name and language, as news:en_US.")
    return Template(name=match[1], language=match[2])


def _check_signature(key: str, claim: Mapping[str, object]) -> bool:
    from subclaw.channels.whatsapp.signature import check_meta

    return check_meta(key, claim)


def _routes(settings: WhatsAppSettings, inside: Inside) -> APIRouter:
    from subclaw.channels.notices import Notices
    from subclaw.channels.whatsapp.inbound import whatsapp_router

    async def check_signature(body: str, signature: str) -> bool:
        return await inside.verify(SCHEME, {"body": body, "signature": signature})

    async def check_token(token: str) -> bool:
        return await inside.verify(CHALLENGE_SCHEME, {"secret": token})

    return whatsapp_router(
        settings=settings,
        intake=inside.intake,
        reports=inside.reports,
        check_signature=check_signature,
        check_token=check_token,
        notices=Notices(partial(_say, inside.gateway_socket, settings)),
        public_url=inside.public_url,
    )


async def _say(gateway_socket: Path, settings: WhatsAppSettings, address: str, words: str) -> None:
    # In a thread, since it takes a third of a second, in which other webhooks want to be acknowledged.
    client_module = await asyncio.to_thread(import_module, "subclaw.channels.whatsapp.client")
    async with client_module.whatsapp_client(gateway_socket, settings) as client:
        await client.send_message(address, words)


@asynccontextmanager
async def _open(settings: WhatsAppSettings, outside: Outside) -> AsyncIterator[Channel]:
    from subclaw.channels.whatsapp.channel import WhatsAppChannel
    from subclaw.channels.whatsapp.client import whatsapp_client

    async with whatsapp_client(outside.gateway_socket, settings) as client:
        yield WhatsAppChannel(client, settings=settings, last_heard=outside.last_heard)


async def _check(settings: WhatsAppSettings, outside: Outside) -> str:
    from subclaw.channels.whatsapp.doctor import describe

    return await describe(settings, outside)


WHATSAPP = ChannelKind(
    name="whatsapp",
    title="WhatsApp",
    read=read_whatsapp,
    variables=(
        "WHATSAPP_PHONE_NUMBER_ID",
        "WHATSAPP_NUMBER",
        "WHATSAPP_COUNTRIES",
        "WHATSAPP_TEMPLATE",
        "WHATSAPP_BASE_URL",
        "WHATSAPP_FILES_BASE_URL",
    ),
    secrets={"WHATSAPP_ACCESS_TOKEN": TOKEN, "WHATSAPP_APP_SECRET": APP_SECRET},
)
