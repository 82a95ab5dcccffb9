"""The certificate authority of a machine, by which the gateway opens its TLS connections.

Its key is derived from the gateway's own and the tenant, so it is the same after a sleep, a crash and a new start, and
is never anywhere but in this process's memory. No machine trusts another's authority.
"""

import hashlib
import os
import ssl
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from subclaw.core.tenant import TenantId

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of the group of P-256 (SEC 2, section 2.4.2)."""

_FROM, _UNTIL = datetime(2025, 1, 1, tzinfo=UTC), datetime(2049, 12, 31, tzinfo=UTC)
_LEAF_DAYS = 30
_LEAF_RENEWED_AFTER = timedelta(days=7)
CONTEXTS_LIMIT = 64
"""Hosts of one machine whose certificates are kept ready; each takes 21 KB."""


class Authority:
    """One machine's certificate authority. Certificates are for one host each, and made when first asked for."""

    def __init__(self, gateway_key: bytes, tenant_id: TenantId) -> None:
        """`gateway_key` is the gateway's private key, 32 bytes."""
        self._tenant_id = tenant_id
        self._key = _derived_key(gateway_key, f"subclaw machine {tenant_id} authority")
        self._leaf_key = _derived_key(gateway_key, f"subclaw machine {tenant_id} hosts")
        self._contexts: OrderedDict[str, tuple[datetime, ssl.SSLContext]] = OrderedDict()

    @cached_property
    def certificate(self) -> x509.Certificate:
        """The authority's own certificate: the same bytes each time it is made."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"subclaw egress for machine {self._tenant_id}")])
        public_key = self._key.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(public_key)
            .serial_number(_serial(f"authority {self._tenant_id}"))
            .not_valid_before(_FROM)
            .not_valid_after(_UNTIL)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        )
        return builder.sign(self._key, hashes.SHA256(), ecdsa_deterministic=True)

    @property
    def pem(self) -> str:
        """The authority's certificate, which the machine is to trust."""
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def context(self, host: str) -> ssl.SSLContext:
        """Return what a connection to a host is opened with: the gateway then speaks as that host to this machine."""
        now = datetime.now(UTC)
        made_at, context = self._contexts.get(host, (None, None))
        if context is None or made_at is None or not now - _LEAF_RENEWED_AFTER < made_at <= now:
            context = self._made(host, now)
            self._contexts[host] = (now, context)
        self._contexts.move_to_end(host)
        if len(self._contexts) > CONTEXTS_LIMIT:
            self._contexts.popitem(last=False)
        return context

    def _made(self, host: str, now: datetime) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
        context.num_tickets = 0
        context.set_alpn_protocols(["h2", "http/1.1"])
        key = self._leaf_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _load(context, key + self._leaf(host, now).public_bytes(Encoding.PEM))
        return context

    def _leaf(self, host: str, now: datetime) -> x509.Certificate:
        # A name of more than 64 characters does not fit there, and nobody reads it: the alternative names count.
        shown = host if len(host) <= 64 else "subclaw egress"
        public_key = self._leaf_key.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, shown)]))
            .issuer_name(self.certificate.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=_LEAF_DAYS))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        return builder.sign(self._key, hashes.SHA256())


def _derived_key(gateway_key: bytes, info: str) -> ec.EllipticCurvePrivateKey:
    """Derive a key of P-256. Source: RFC 5869; 16 bytes more than the order has, so that no key is likelier."""
    wide = HKDF(algorithm=hashes.SHA256(), length=48, salt=None, info=info.encode()).derive(gateway_key)
    return ec.derive_private_key(int.from_bytes(wide) % (_ORDER - 1) + 1, ec.SECP256R1())


def _serial(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16]) | 1


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _load(context: ssl.SSLContext, pem: bytes) -> None:
    """Give a context a key and its certificate. OpenSSL's Python reads them from a file: one in memory, then."""
    descriptor = os.memfd_create("subclaw", os.MFD_CLOEXEC)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
