"""Our mail server: who may connect, how much they may say and for how long. Source: RFC 5321, RFC 3207."""

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import cast

from aiosmtpd.smtp import SMTP, Envelope, Session

from subclaw.channels.email.settings import Certificate, EmailSettings
from subclaw.core.errors import Conflict

MAIL_LIMIT_BYTES = 24 * 1024 * 1024
"""Files of 16 MB are 22 in a mail."""

CONNECTIONS_LIMIT, CONNECTIONS_OF_ONE_LIMIT = 100, 10
CONTENTS_AT_ONCE = 4
"""Mails that are read at once: each is in memory, several times over."""

COMMAND_LIMIT_S, SESSION_LIMIT_S = 120.0, 600.0
COMMANDS_LIMIT = 100
RECIPIENTS_LIMIT = 10
LINE_LIMIT_BYTES = 64 * 1024
"""The RFC says 1,000 bytes; some programs write HTML in one line."""

logging.getLogger("mail.log").setLevel(logging.WARNING)  # it tells who writes, and of what

Take = Callable[[str, Sequence[str], bytes], Awaitable[str]]
"""Takes a mail: by whom, for whom, what. Returns the answer."""

IsOurs = Callable[[str], bool]


@dataclass(kw_only=True)
class House:
    """What all connections of a server share."""

    settings: EmailSettings
    take: Take
    is_ours: IsOurs
    tls: ssl.SSLContext | None
    within: Counter[str] = field(default_factory=Counter)
    lines: set[asyncio.Transport] = field(default_factory=set)
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONTENTS_AT_ONCE))

    def refusal(self, peer: str) -> str | None:
        """Say why an address may not connect, or None if it may."""
        front = self.settings.front
        if front is not None and not any(ip_address(peer) in ip_network(one) for one in front.addresses):
            return "554 5.7.1 Mail for this address goes to another server"
        if self.within.total() >= CONNECTIONS_LIMIT or self.within[peer] >= CONNECTIONS_OF_ONE_LIMIT:
            return "421 4.7.0 Too many connections"
        return None


async def serve_mail(settings: EmailSettings, take: Take, is_ours: IsOurs) -> None:
    """Take mail until cancelled. Errors: `Conflict` if it cannot listen, `Invalid` for a certificate that is none."""
    house = House(settings=settings, take=take, is_ours=is_ours, tls=load_certificate(settings.certificate))
    loop, desk = asyncio.get_running_loop(), _Desk(house)
    try:
        server = await loop.create_server(lambda: _Connection(house, desk), settings.host, settings.port)
    except OSError as error:
        raise Conflict(
            f"Mail cannot be taken at {settings.host} port {settings.port}.", internal=f"listen: {error.strerror}"
        ) from None
    try:
        async with server:
            while True:
                await asyncio.sleep(3_600)
                house.tls = load_certificate(settings.certificate)  # it may have been renewed
    finally:
        server.close()
        for line in tuple(house.lines):
            line.abort()


def load_certificate(certificate: Certificate | None) -> ssl.SSLContext | None:
    """Return what TLS is served with. Errors: `Conflict` if the files cannot be used."""
    if certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate.chain, certificate.key)
    except OSError as error:
        raise Conflict(
            f"{certificate.chain} and {certificate.key} cannot be used as a certificate and its key by the user of the"
            " control plane.",
            internal=f"certificate: {type(error).__name__}",
        ) from None
    return context


class _Desk:
    """What the library asks, in its names."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        """Greet; nobody signs in here."""
        session.host_name = hostname
        return [line for line in responses if not line.startswith("250-AUTH")]

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take mail for our address, and for nobody else."""
        if not self._house.is_ours(address):
            return "550 5.1.1 There is no such address here"
        if len(envelope.rcpt_tos) >= RECIPIENTS_LIMIT:
            return "452 4.5.3 Too many recipients"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Take a mail."""
        content = envelope.original_content or b""
        mail_from = (envelope.mail_from or "").strip("<>")  # the library leaves the null sender as it is written
        return await self._house.take(mail_from, tuple(envelope.rcpt_tos), content)

    async def handle_exception(self, error: Exception) -> str:
        """Write down what must not be, and have them come again."""
        logging.getLogger(__name__).error("email: %s", type(error).__name__, exc_info=error)
        return "451 4.3.0 Something went wrong here, please try again"


class _Connection(SMTP):
    """A connection, in its limits."""

    line_length_limit = LINE_LIMIT_BYTES

    def __init__(self, house: House, desk: _Desk) -> None:
        super().__init__(
            desk,
            data_size_limit=MAIL_LIMIT_BYTES,
            hostname=house.settings.domain,
            ident="ESMTP",
            tls_context=house.tls,
            timeout=COMMAND_LIMIT_S,
            auth_exclude_mechanism=("LOGIN", "PLAIN"),
            command_call_limit=COMMANDS_LIMIT,
            loop=asyncio.get_running_loop(),
        )
        self._house = house
        self._peer = ""
        self._line: asyncio.Transport | None = None
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let a connection in, or turn it away; this comes a second time when TLS begins."""
        if self._end is None:
            line = cast(asyncio.Transport, transport)  # which uvloop's are, by what they do
            peer = (transport.get_extra_info("peername") or ("127.0.0.1",))[0].partition("%")[0]
            if refusal := self._house.refusal(peer):
                line.set_protocol(asyncio.Protocol())
                line.write(f"{refusal}\r\n".encode())
                line.close()
                return
            self._peer = peer
            self._line = line
            self._house.lines.add(line)
            self._house.within[peer] += 1
            self._end = self.loop.call_later(SESSION_LIMIT_S, line.abort)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Let the next one in."""
        if self._end is not None and self._line is not None:
            self._end.cancel()
            self._house.lines.discard(self._line)
            self._line = None
            self._house.within[self._peer] -= 1
            self._house.within += Counter()  # which drops who has none left
        if self.transport is not None:
            super().connection_lost(error)

    async def smtp_DATA(self, arg: str) -> None:
        """Read a mail when there is room for one more."""
        async with self._house.room:
            self._reset_timeout()
            await super().smtp_DATA(arg)
