"""Matrix, as a kind of channel."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from subclaw.channels.kind import ChannelKind, ChannelSetUp, Outside
from subclaw.channels.matrix.settings import CHANNEL, SCHEME, TOKEN, UPSTREAM, MatrixSettings
from subclaw.core.channel import Channel
from subclaw.core.errors import Invalid
from subclaw.core.signature import Signature
from subclaw.core.upstream import Upstream, read_base_url

if TYPE_CHECKING:
    import aiohttp

    from subclaw.channels.matrix.device import Device


def read_matrix(given: Mapping[str, str]) -> ChannelSetUp | None:
    """Return Matrix as it is set up. Errors: `Invalid`."""
    homeserver, user = read_base_url(given, "MATRIX_HOMESERVER", ""), given.get("MATRIX_USER", "")
    if not homeserver and not user:
        return None
    if not homeserver or not user:
        raise Invalid("For Matrix, set MATRIX_HOMESERVER, MATRIX_USER and MATRIX_ACCESS_TOKEN, all three.")
    if not re.fullmatch(r"@[a-z0-9._=/+-]{1,200}:[A-Za-z0-9.:\[\]-]{1,230}", user):
        raise Invalid(f"MATRIX_USER is {user!r}; it must be the account's Matrix id, such as @agent:example.org.")
    settings = MatrixSettings(user=user, homeserver=homeserver)
    return ChannelSetUp(
        kind=MATRIX,
        place=f"https://matrix.to/#/{user}",
        label="Matrix",
        upstreams=(Upstream(name=UPSTREAM, base_url=homeserver, secret=TOKEN, methods=("GET", "POST", "PUT")),),
        signatures={SCHEME: Signature(secret=TOKEN)},
        open=partial(_open, settings),
        listen=partial(_listen, settings),
        check=partial(_check, settings),
    )


@asynccontextmanager
async def _open(settings: MatrixSettings, outside: Outside) -> AsyncIterator[Channel]:
    from subclaw.channels.matrix.channel import MatrixChannel
    from subclaw.channels.matrix.client import GatewayClient, matrix_session

    async with matrix_session(outside.gateway_socket) as session:
        client = GatewayClient(session, settings.user)
        yield MatrixChannel(client, _device(settings, outside, session), outside.last_heard)


async def _listen(settings: MatrixSettings, outside: Outside) -> None:
    from subclaw.channels.matrix.client import GatewayClient, matrix_session
    from subclaw.channels.matrix.listening import Listener

    async with matrix_session(outside.gateway_socket) as session:
        device = _device(settings, outside, session)
        client = GatewayClient(session, settings.user)
        await Listener(client, device, outside.intake, outside.keeping(CHANNEL)).listen()


async def _check(settings: MatrixSettings, outside: Outside) -> str:
    from subclaw.channels.matrix.client import GatewayClient, matrix_session
    from subclaw.channels.matrix.doctor import describe

    async with matrix_session(outside.gateway_socket) as session:
        return await describe(GatewayClient(session, settings.user))


def _device(settings: MatrixSettings, outside: Outside, session: aiohttp.ClientSession) -> Device:
    from subclaw.channels.matrix.device import DEVICE_CHANNEL, Device

    keeping = outside.keeping(DEVICE_CHANNEL)
    return Device(session, settings.user, keeping, partial(_read_key, outside.gateway_socket))


async def _read_key(gateway_socket: Path) -> bytes:
    """Return the key that seals the device's state. It follows from the token, as secrets of webhooks do."""
    from subclaw.egress.control.client import gateway_client, webhook_secret

    async with gateway_client(gateway_socket) as gateway:
        return bytes.fromhex(await webhook_secret(gateway, SCHEME))


MATRIX = ChannelKind(
    name=CHANNEL,
    title="Matrix",
    read=read_matrix,
    variables=("MATRIX_HOMESERVER", "MATRIX_USER"),
    secrets={"MATRIX_ACCESS_TOKEN": TOKEN},
)
