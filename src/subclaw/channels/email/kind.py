"""E-mail, as a kind of channel."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from subclaw.channels.email.settings import CHANNEL, PASSWORD, RELAY, SCHEME, Certificate, EmailSettings, Front
from subclaw.channels.kind import ChannelKind, ChannelSetUp, Inside, Outside
from subclaw.core.channel import Channel
from subclaw.core.errors import Invalid
from subclaw.core.mail_relay import MailRelay
from subclaw.core.signature import Signature

if TYPE_CHECKING:
    from subclaw.channels.email.marks import Secret

DEFAULT_LISTEN = "127.0.0.1:2525"
_ADDRESS = re.compile(r"[a-z0-9][a-z0-9._-]{0,29}@[a-z0-9-]+(\.[a-z0-9-]+)+")
"""Its first part leaves room for a mark, within the 64 characters of RFC 5321."""


def read_email(given: Mapping[str, str]) -> ChannelSetUp | None:
    """Return e-mail as it is set up. Errors: `Invalid`."""
    address, relay = given.get("EMAIL_ADDRESS", "").lower(), given.get("EMAIL_RELAY", "")
    if not address and not relay:
        return None
    if not address or not relay:
        raise Invalid("For e-mail, set EMAIL_ADDRESS, EMAIL_RELAY and EMAIL_PASSWORD, all three.")
    if not _ADDRESS.fullmatch(address):
        raise Invalid(
            f"EMAIL_ADDRESS is {address!r}; it must be like agent@example.com, at most 30 characters before the @."
        )
    host, port = _listen(given.get("EMAIL_LISTEN", DEFAULT_LISTEN))
    settings = EmailSettings(
        address=address,
        name=given.get("EMAIL_NAME", "").strip() or address.partition("@")[0],
        host=host,
        port=port,
        certificate=_certificate(given),
        front=_front(given.get("EMAIL_FRONT", "")),
        name_servers=tuple(filter(None, map(str.strip, given.get("SUBCLAW_NAME_SERVERS", "").split(",")))),
    )
    return ChannelSetUp(
        kind=EMAIL,
        place=address,
        label="E-mail",
        signatures={SCHEME: Signature(secret=PASSWORD)},
        relays=(_relay(relay, address, given.get("EMAIL_RELAY_CA", "")),),
        serve=partial(_serve, settings),
        open=partial(_open, settings),
        check=partial(_check, settings),
    )


def _relay(text: str, sender: str, authorities: str) -> MailRelay:
    wrong = Invalid(
        f"EMAIL_RELAY is {text!r}; it must be like smtp://USER@smtp.example.com:587 (STARTTLS) or smtps://…:465."
    )
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise wrong from None
    user = unquote(parts.username or "")
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname or not user or not user.isprintable():
        raise wrong
    if parts.password is not None:
        raise Invalid("EMAIL_RELAY must not hold the password: set EMAIL_PASSWORD, which is sealed.")
    if parts.path.strip("/") or parts.query or parts.fragment or port == 0:
        raise wrong
    implicit_tls = parts.scheme == "smtps"
    return MailRelay(
        name=RELAY,
        host=parts.hostname,
        port=port or (465 if implicit_tls else 587),
        implicit_tls=implicit_tls,
        user=user,
        secret=PASSWORD,
        sender=sender,
        authorities=Path(authorities).absolute() if authorities else None,
    )


def _listen(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    try:
        address = str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        address = ""
    if not address or not (port.isascii() and port.isdecimal()) or not 1 <= int(port) <= 65_535:
        raise Invalid(f"EMAIL_LISTEN is {text!r}; it must be like {DEFAULT_LISTEN} or 0.0.0.0:25.")
    return address, int(port)


def _certificate(given: Mapping[str, str]) -> Certificate | None:
    chain, key = given.get("EMAIL_CERTIFICATE", ""), given.get("EMAIL_CERTIFICATE_KEY", "")
    if bool(chain) != bool(key):
        raise Invalid("EMAIL_CERTIFICATE and EMAIL_CERTIFICATE_KEY are two files, in PEM: set both, or none.")
    return Certificate(chain=Path(chain), key=Path(key)) if chain else None


def _front(text: str) -> Front | None:
    if not text:
        return None
    name, _, rest = text.partition(" ")
    addresses = tuple(filter(None, re.split(r"[\s,]+", rest)))
    try:
        networks = tuple(str(ipaddress.ip_network(address)) for address in addresses)
    except ValueError:
        networks = ()
    if not networks or not re.fullmatch(r"[A-Za-z0-9.-]+", name):
        raise Invalid(
            f"EMAIL_FRONT is {text!r}; it must be the name that your server puts into Authentication-Results, and the"
            " addresses that it connects from, such as: mx.example.com 127.0.0.1"
        )
    return Front(name=name, addresses=networks)


async def _serve(settings: EmailSettings, inside: Inside) -> None:
    from subclaw.channels.email.inbound import Inbound, tag_of, take
    from subclaw.channels.email.names import Names
    from subclaw.channels.email.server import serve_mail

    names = Names(settings.name_servers)
    inbound = Inbound(
        settings=settings,
        intake=inside.intake,
        reports=inside.reports,
        secret=_secret(inside.gateway_socket),
        texts=names.texts,
    )
    try:
        await serve_mail(settings, partial(take, inbound), lambda address: tag_of(settings, address) is not None)
    finally:
        await names.close()


@asynccontextmanager
async def _open(settings: EmailSettings, outside: Outside) -> AsyncIterator[Channel]:
    from subclaw.channels.email.channel import EmailChannel
    from subclaw.egress.control.client import gateway_client

    async with gateway_client(outside.gateway_socket, connections=4) as gateway:
        yield EmailChannel(gateway, settings, _secret(outside.gateway_socket), outside.last_heard)


async def _check(settings: EmailSettings, outside: Outside) -> str:
    from subclaw.channels.email.doctor import describe

    return await describe(settings, outside)


def _secret(gateway_socket: Path) -> Secret:
    """Return what tells the secret of marks, which is asked for once."""
    from subclaw.egress.control.client import gateway_client, webhook_secret

    known: list[str] = []

    async def tell() -> str:
        if not known:
            async with gateway_client(gateway_socket) as gateway:
                known.append(await webhook_secret(gateway, SCHEME))
        return known[0]

    return tell


EMAIL = ChannelKind(
    name=CHANNEL,
    title="E-mail",
    read=read_email,
    variables=(
        "EMAIL_ADDRESS",
        "EMAIL_RELAY",
        "EMAIL_RELAY_CA",
        "EMAIL_NAME",
        "EMAIL_LISTEN",
        "EMAIL_CERTIFICATE",
        "EMAIL_CERTIFICATE_KEY",
        "EMAIL_FRONT",
    ),
    secrets={"EMAIL_PASSWORD": PASSWORD},
)
