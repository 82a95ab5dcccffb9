"""Mail's other side on loopback: a relay that takes what goes out, and writers who send mail in, signed or not.

The relay is strict where real ones are: STARTTLS, then the user and the password, then a mail. It misbehaves on demand.
Source: RFC 5321, RFC 4954, RFC 6376.
"""

import asyncio
import base64
import datetime
import ipaddress
import itertools
import ssl
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import format_datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

import aiosmtplib
import dkim  # type: ignore[import-untyped]
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

WAIT_LIMIT_S = 30.0


class Behaviour(StrEnum):
    """How the relay takes one mail."""

    ACCEPT = "accept"
    GO_AWAY = "421"
    DEFER = "450"
    NO_MAILBOX = "550"
    REFUSE_CONTENT = "554"
    DROP = "drop"
    """Take the mail, and close the connection without a word."""


_AT_RECIPIENT = {
    Behaviour.GO_AWAY: "421 4.3.2 Shutting down",
    Behaviour.DEFER: "450 4.2.1 The mailbox is busy",
    Behaviour.NO_MAILBOX: "550 5.1.1 No such user",
}


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A mail that the relay took."""

    mail_from: str
    recipients: tuple[str, ...]
    message: EmailMessage

    def text(self, kind: str = "plain") -> str:
        """Return its words, or how they are as HTML."""
        part = self.message.get_body((kind,))
        return str(part.get_content()).strip().replace("\r\n", "\n") if isinstance(part, EmailMessage) else ""

    def files(self) -> list[tuple[str, str, bytes]]:
        """Return the files in it: their names, types and contents."""
        return [
            (part.get_filename() or "", part.get_content_type(), cast(bytes, part.get_payload(decode=True)))
            for part in self.message.iter_attachments()
        ]


@dataclass(kw_only=True)
class FakeRelay:
    """The state of the relay. `authority` is a file that its certificate is checked with; `users` were let in."""

    user: str
    password: str
    authority: Path
    port: int = 0
    behaviours: deque[Behaviour] = field(default_factory=deque)
    mails: list[Taken] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        """Return what an operator sets."""
        return f"smtp://{self.user.replace('@', '%40')}@127.0.0.1:{self.port}"

    async def until(self, count: int) -> list[Taken]:
        """Wait until so many mails were taken; return them."""
        async with asyncio.timeout(WAIT_LIMIT_S), self.news:
            await self.news.wait_for(lambda: len(self.mails) >= count)
            return list(self.mails)


@asynccontextmanager
async def fake_relay(folder: Path, *, user: str, password: str, port: int = 0) -> AsyncIterator[FakeRelay]:
    """Run the relay on a port of loopback; its certificate is put into the folder, and used again from there."""
    tls, authority = certify(folder)
    relay = FakeRelay(user=user, password=password, authority=authority)

    def authenticate(server: object, session: object, envelope: object, mechanism: str, given: object) -> AuthResult:
        wanted = LoginPassword(user.encode(), password.encode())
        relay.users.append(user if given == wanted else "somebody")
        return AuthResult(success=given == wanted, handled=False)

    connections: list[SMTP] = []

    def connect() -> SMTP:
        connection = SMTP(
            _Desk(relay),
            hostname="relay.test",
            tls_context=tls,
            require_starttls=True,
            auth_required=True,
            authenticator=authenticate,
            loop=asyncio.get_running_loop(),
        )
        connections.append(connection)
        return connection

    server = await asyncio.get_running_loop().create_server(connect, "127.0.0.1", port)
    relay.port = server.sockets[0].getsockname()[1]
    try:
        yield relay
    finally:
        server.close()
        for connection in connections:
            if connection.transport is not None:
                cast(asyncio.Transport, connection.transport).abort()


class _Desk:
    def __init__(self, relay: FakeRelay) -> None:
        self._relay = relay
        self._behaviour = Behaviour.ACCEPT

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Take a recipient, or not."""
        self._behaviour = self._relay.behaviours.popleft() if self._relay.behaviours else Behaviour.ACCEPT
        if self._behaviour in _AT_RECIPIENT:
            return _AT_RECIPIENT[self._behaviour]
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Take a mail, or not."""
        if self._behaviour is Behaviour.REFUSE_CONTENT:
            return "554 5.7.1 This looks like spam"
        message = message_from_bytes(envelope.original_content or b"", policy=policy.default)
        async with self._relay.news:
            self._relay.mails.append(
                Taken(
                    mail_from=envelope.mail_from or "",
                    recipients=tuple(envelope.rcpt_tos),
                    message=message,
                )
            )
            self._relay.news.notify_all()
        if self._behaviour is Behaviour.DROP:
            cast(asyncio.Transport, server.transport).abort()
        return "250 2.0.0 Queued"


@dataclass(frozen=True, kw_only=True)
class Signer:
    """A domain that signs its mail. `record` is what its DNS says at `key_name`, as a zone file has it."""

    domain: str
    selector: str
    private_key: bytes
    record: str

    @property
    def key_name(self) -> str:
        """Return where the key is."""
        return f"{self.selector}._domainkey.{self.domain}"

    def sign(self, content: bytes, headers: Sequence[str] = (), *, length: bool = False) -> bytes:
        """Return a mail with a signature over these headers, or the usual; with `length`, over no more than this."""
        names = [name.encode() for name in headers or ("from", "to", "cc", "subject", "date", "message-id")]
        signature: bytes = dkim.sign(
            content,
            self.selector.encode(),
            self.domain.encode(),
            self.private_key,
            canonicalize=(b"relaxed", b"relaxed"),
            include_headers=names,
            length=length,
        )
        return signature + content


def make_signer(domain: str, *, selector: str = "s1", flags: str = "") -> Signer:
    """Make a domain's key. `flags` are those of its record (`t=`)."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    text = f"v=DKIM1; k=rsa; {f't={flags}; ' if flags else ''}p={base64.b64encode(public).decode()}"
    return Signer(
        domain=domain,
        selector=selector,
        private_key=key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        ),
        record=" ".join(f'"{text[start : start + 250]}"' for start in range(0, len(text), 250)),
    )


_NUMBERS = itertools.count(1)


def write(text: str, *, sender: str, to: str, subject: str = "Hello", **headers: str) -> bytes:
    """Return a mail as a person's program writes it; `headers` (`in_reply_to`) replace what it has, or are left out."""
    given = {
        "From": sender,
        "To": to,
        "Subject": subject,
        "Date": format_datetime(datetime.datetime.now(datetime.UTC)),
        "Message-ID": f"<m{next(_NUMBERS)}@{sender.rpartition('@')[2].strip('>')}>",
        "MIME-Version": "1.0",
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Transfer-Encoding": "8bit",
    }
    given |= {name.replace("_", "-"): value for name, value in _named(given, headers).items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items() if value)
    return f"{head}\r\n{text}\r\n".replace("\r\n", "\n").replace("\n", "\r\n").encode()


def _named(given: Mapping[str, str], headers: Mapping[str, str]) -> dict[str, str]:
    known = {name.lower().replace("-", "_"): name for name in given}
    return {known.get(name, name): value for name, value in headers.items()}


async def deliver(
    port: int, content: bytes, *, to: str | Sequence[str], mail_from: str = "ann@example.org", tls: Any = None
) -> tuple[int, str]:
    """Bring a mail to a server, as others' servers do; return its answer."""
    client = aiosmtplib.SMTP(hostname="127.0.0.1", port=port, use_tls=False, start_tls=False, timeout=WAIT_LIMIT_S)
    await client.connect()
    try:
        if tls is not None:
            await client.starttls(tls_context=tls)
        await client.ehlo()
        await client.execute_command(b"MAIL", f"FROM:<{mail_from}>".encode())
        for recipient in [to] if isinstance(to, str) else to:
            answer = await client.execute_command(b"RCPT", f"TO:<{recipient}>".encode())
            if answer.code >= 400:
                return answer.code, answer.message
        answer = await client.data(content)
        return answer.code, answer.message
    except aiosmtplib.SMTPResponseException as error:
        return error.code, error.message
    finally:
        client.close()


def certify(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Return what serves TLS as 127.0.0.1, and the file that it is checked with; `mail.pem` has the chain and key."""
    authority, own = folder / "mail-authority.pem", folder / "mail.pem"
    if not own.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail")]), datetime.datetime.now(datetime.UTC)
        host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        certificate = (
            x509.CertificateBuilder(subject_name=name, issuer_name=name, public_key=key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(host, critical=False)
            .sign(key, hashes.SHA256())
        )
        encoding, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        authority.write_bytes(certificate.public_bytes(encoding))
        own.write_bytes(
            certificate.public_bytes(encoding) + key.private_bytes(encoding, private, serialization.NoEncryption())
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own)
    return context, authority
