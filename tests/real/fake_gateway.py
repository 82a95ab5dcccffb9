"""The egress gateway as the host of machines sees it: takes doors, and tells whoever comes where they wanted to go.

Port 443 is served by TLS, with a certificate of the tenant's own authority for whatever name is asked for.
"""

import array
import contextlib
import datetime
import json
import select
import socket
import ssl
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SO_ORIGINAL_DST = 80
ADDRESS = "203.0.113.7"
"""What every name is resolved to."""

PATIENCE_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Authority:
    """A certificate authority of one machine's."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


@dataclass(kw_only=True)
class Served:
    """A door that was handed over. `gone` is set when its connection has ended."""

    tenant: str
    listener: socket.socket
    questions: socket.socket
    connection: socket.socket
    gone: threading.Event = field(default_factory=threading.Event)
    arrived: list[tuple[str, int]] = field(default_factory=list)
    asked: list[bytes] = field(default_factory=list)


class FakeGateway:
    """What the gateway has, in the order in which it came."""

    def __init__(self, authorities: dict[str, Authority]) -> None:
        self.doors: list[Served] = []
        self.authorities = authorities

    def of(self, tenant: int) -> Served:
        """Return the newest door of a tenant."""
        return next(door for door in reversed(self.doors) if door.tenant == str(tenant))


@contextmanager
def fake_gateway(path: Path, authorities: dict[str, Authority]) -> Iterator[FakeGateway]:
    """Run a gateway on a socket; at the end it drops whatever it has, as if it were killed."""
    gateway = FakeGateway(authorities)
    over = threading.Event()
    threads: list[threading.Thread] = []
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen()

        def take() -> None:
            while not over.is_set():
                if select.select([server], [], [], 0.05)[0]:
                    served = accept_door(server.accept()[0], gateway)
                    threads.append(threading.Thread(target=serve, args=(served, gateway, over)))
                    threads[-1].start()

        threads.append(threading.Thread(target=take))
        threads[0].start()
        try:
            yield gateway
        finally:
            over.set()
            for thread in threads:
                thread.join(PATIENCE_S)


def accept_door(connection: socket.socket, gateway: FakeGateway) -> Served:
    """Take a door and answer."""
    connection.settimeout(PATIENCE_S)
    descriptors = array.array("i")
    text, ancillary, _, _ = connection.recvmsg(4_096, socket.CMSG_SPACE(2 * descriptors.itemsize))
    for level, kind, data in ancillary:
        assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
        descriptors.frombytes(data)
    assert text.endswith(b"\n")
    (tenant,) = json.loads(text).values()
    listener, questions = (socket.socket(fileno=number) for number in descriptors)
    served = Served(tenant=tenant, listener=listener, questions=questions, connection=connection)
    gateway.doors.append(served)
    authority = gateway.authorities.setdefault(tenant, new_authority(tenant))
    connection.sendall(json.dumps({"certificate": authority.pem}).encode() + b"\n")
    return served


def serve(served: Served, gateway: FakeGateway, over: threading.Event) -> None:
    """Serve a door until its connection ends or everything does."""
    with served.connection, served.listener, served.questions:
        while not over.is_set():
            ready, _, _ = select.select([served.listener, served.questions, served.connection], [], [], 0.05)
            if served.connection in ready:
                break
            with contextlib.suppress(BlockingIOError):
                if served.listener in ready:
                    answer(served, served.listener.accept()[0], gateway.authorities[served.tenant])
                if served.questions in ready:
                    question, sender = served.questions.recvfrom(4_096)
                    served.asked.append(question)
                    served.questions.sendto(named(question), sender)
    served.gone.set()


def answer(served: Served, connection: socket.socket, authority: Authority) -> None:
    """Tell a connection whose it is and where it wanted to go; by TLS and HTTP where that is expected."""
    with connection, contextlib.suppress(OSError):
        connection.settimeout(PATIENCE_S)
        to = original_destination(connection)
        served.arrived.append(to)
        text = json.dumps([served.tenant, *to]).encode()
        if to[1] != 443:
            connection.sendall(text)
            return
        with tls(authority).wrap_socket(connection, server_side=True) as encrypted:
            encrypted.recv(65_536)
            encrypted.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(text) + text)


def original_destination(connection: socket.socket) -> tuple[str, int]:
    """Return where a connection was going before it was turned aside (ip(7) does not tell: linux/netfilter_ipv4.h)."""
    if connection.getpeername()[0].startswith("::ffff:"):
        port, packed = struct.unpack("!2xH4s8x", connection.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16))
        return socket.inet_ntop(socket.AF_INET, packed), port
    port, packed = struct.unpack("!2xH4x16s4x", connection.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28))
    return socket.inet_ntop(socket.AF_INET6, packed), port


def named(question: bytes) -> bytes:
    """Answer a question to a name server with the same address for every name; what is none comes back as it is."""
    if len(question) < 17:
        return question
    end = question.index(b"\0", 12) + 5
    wants_ipv4 = question[end - 4 : end - 2] == b"\0\x01"
    record = b"\xc0\x0c\0\x01\0\x01\0\0\0\x05\0\x04" + socket.inet_aton(ADDRESS)
    head = question[:2] + b"\x81\x80\0\x01" + bytes([0, wants_ipv4]) + b"\0\0\0\0"
    return head + question[12:end] + (record if wants_ipv4 else b"")


def new_authority(name: str) -> Authority:
    """Make a certificate authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"machine {name}")])
    return Authority(key=key, certificate=certificate(subject, subject, key, key, is_authority=True))


def certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signing: ec.EllipticCurvePrivateKey,
    *,
    is_authority: bool = False,
    hostname: str = "authority",
) -> x509.Certificate:
    """Make a certificate for an hour."""
    now = datetime.datetime.now(datetime.UTC)
    hour = datetime.timedelta(hours=1)
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - hour)
        .not_valid_after(now + hour)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(hostname)]), critical=False)
        .sign(signing, hashes.SHA256())
    )


def tls(authority: Authority) -> ssl.SSLContext:
    """Return what serves TLS as whoever is asked for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def choose(connection: ssl.SSLObject | ssl.SSLSocket, hostname: str | None, _: ssl.SSLContext) -> None:
        own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname or "nobody")])
        made = certificate(subject, authority.certificate.subject, key, authority.key, hostname=hostname or "nobody")
        with tempfile.NamedTemporaryFile() as file:
            file.write(made.public_bytes(serialization.Encoding.PEM))
            file.write(
                key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                )
            )
            file.flush()
            own.load_cert_chain(file.name)
        connection.context = own

    context.sni_callback = choose
    return context
