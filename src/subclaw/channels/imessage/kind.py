"""iMessage, as a kind of channel."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from subclaw.channels.imessage.settings import PASSWORD, SCHEME, UPSTREAM, WEBHOOK_PATH, IMessageSettings
from subclaw.channels.kind import ChannelKind, ChannelSetUp, Inside, Outside, Webhook
from subclaw.core.channel import Channel
from subclaw.core.errors import Invalid
from subclaw.core.signature import Signature
from subclaw.core.upstream import Injection, Upstream, read_base_url

if TYPE_CHECKING:
    from fastapi import APIRouter


def read_imessage(given: Mapping[str, str]) -> ChannelSetUp | None:
    """Return iMessage as it is set up. Errors: `Invalid`."""
    base_url, account = read_base_url(given, "BLUEBUBBLES_URL", ""), given.get("IMESSAGE_ACCOUNT", "")
    if not base_url and not account:
        return None
    if not base_url or not account:
        raise Invalid("For iMessage, set BLUEBUBBLES_URL, BLUEBUBBLES_PASSWORD and IMESSAGE_ACCOUNT, all three.")
    if not re.fullmatch(r"\+[1-9][0-9]{5,14}|[^\s@]+@[^\s@]+", account):
        raise Invalid(f"IMESSAGE_ACCOUNT is {account!r}; it must be a number such as +15551234567, or an address.")
    service = given.get("IMESSAGE_SERVICE", "iMessage")
    if service not in ("iMessage", "any"):
        raise Invalid(f"IMESSAGE_SERVICE is {service!r}; it must be iMessage or any.")
    name = given.get("IMESSAGE_NAME", "").strip()
    settings = IMessageSettings(base_url=base_url, account=account, name=name, service=service)
    return ChannelSetUp(
        kind=IMESSAGE,
        place=account,
        label="iMessage",
        upstreams=(
            Upstream(
                name=UPSTREAM, base_url=base_url, injection=Injection.QUERY, parameter="password", secret=PASSWORD
            ),
        ),
        signatures={SCHEME: Signature(secret=PASSWORD)},
        webhooks=(Webhook(path=f"{WEBHOOK_PATH}/…", where="nowhere: BlueBubbles is told at the start"),),
        routes=partial(_routes, settings),
        open=partial(_open, settings),
        listen=partial(_listen, settings),
        check=partial(_check, settings),
    )


def _routes(settings: IMessageSettings, inside: Inside) -> APIRouter:
    from subclaw.channels.imessage.inbound import imessage_router
    from subclaw.channels.notices import Notices

    async def check(secret: str) -> bool:
        return await inside.verify(SCHEME, {"secret": secret})

    notices = Notices(partial(_say, inside.gateway_socket, settings))
    return imessage_router(intake=inside.intake, check_secret=check, notices=notices, name=settings.name)


async def _say(gateway_socket: Path, settings: IMessageSettings, address: str, words: str) -> None:
    from subclaw.channels.imessage.messages import chat_of
    from subclaw.channels.imessage.server import blue_bubbles

    chat = chat_of(address, settings.service)
    given = {"chatGuid": chat, "tempGuid": f"subclaw-{address}", "message": words, "method": "apple-script"}
    async with blue_bubbles(gateway_socket) as server:
        await server.ask("POST", "/message/text", given)


@asynccontextmanager
async def _open(settings: IMessageSettings, outside: Outside) -> AsyncIterator[Channel]:
    from subclaw.channels.imessage.channel import IMessageChannel
    from subclaw.channels.imessage.server import blue_bubbles

    async with blue_bubbles(outside.gateway_socket) as server:
        yield IMessageChannel(server, settings)


async def _listen(settings: IMessageSettings, outside: Outside) -> None:
    from subclaw.channels.imessage.listening import CALLED_S, UNCALLED_S, keep_webhook, poll
    from subclaw.channels.imessage.server import blue_bubbles
    from subclaw.channels.notices import Notices

    notices = Notices(partial(_say, outside.gateway_socket, settings))
    async with blue_bubbles(outside.gateway_socket) as server:
        if outside.public_url is not None:
            await keep_webhook(server, outside.public_url, outside.gateway_socket)
        every_s = UNCALLED_S if outside.public_url is None else CALLED_S
        await poll(server, outside.intake, notices, settings, every_s=every_s)


async def _check(settings: IMessageSettings, outside: Outside) -> str:
    from subclaw.channels.imessage.channel import IMessageChannel
    from subclaw.channels.imessage.server import blue_bubbles

    async with blue_bubbles(outside.gateway_socket) as server:
        return await IMessageChannel(server, settings).check()


IMESSAGE = ChannelKind(
    name="imessage",
    title="iMessage",
    read=read_imessage,
    variables=("BLUEBUBBLES_URL", "IMESSAGE_ACCOUNT", "IMESSAGE_NAME", "IMESSAGE_SERVICE"),
    secrets={"BLUEBUBBLES_PASSWORD": PASSWORD},
)
