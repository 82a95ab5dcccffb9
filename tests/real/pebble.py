"""A real ACME authority for tests: Debian's pebble, which asks a name server of ours and looks at ports of ours."""

import asyncio
import contextlib
import datetime
import ipaddress
import json
import os
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from subclaw.testing.serving import free_port

PEBBLE = "/usr/bin/pebble"
START_S = 20


@dataclass(frozen=True, kw_only=True)
class Pebble:
    """`directory` is its ACME directory, `certificate` what it shows there itself, for who trusts nothing else."""

    directory: str
    management: str
    certificate: Path

    async def trusting(self) -> ssl.SSLContext:
        """Return a context that trusts what it issues, and nothing else."""
        async with httpx.AsyncClient(verify=ssl.create_default_context(cafile=str(self.certificate))) as client:
            root = (await client.get(f"{self.management}/roots/0")).text
        return ssl.create_default_context(cadata=root)


@contextlib.asynccontextmanager
async def running_pebble(folder: Path, *, name_server: str, https_port: int, http_port: int) -> AsyncIterator[Pebble]:
    """Run an authority that validates at two ports of loopback, for a block."""
    listen, management = free_port(), free_port()
    certificate, key = _own_certificate(folder)
    settings = {
        "listenAddress": f"127.0.0.1:{listen}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(certificate),
        "privateKey": str(key),
        "httpPort": http_port,
        "tlsPort": https_port,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
    }
    config = folder / "pebble.json"
    await asyncio.to_thread(config.write_text, json.dumps({"pebble": settings}))
    process = await asyncio.create_subprocess_exec(
        PEBBLE, "-config", str(config), "-dnsserver", name_server,
        env={**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    pebble = Pebble(
        directory=f"https://127.0.0.1:{listen}/dir",
        management=f"https://127.0.0.1:{management}",
        certificate=certificate,
    )
    try:
        async with asyncio.timeout(START_S):
            while True:
                with contextlib.suppress(httpx.TransportError):
                    await pebble.trusting()
                    break
                await asyncio.sleep(0.02)
        yield pebble
    finally:
        process.kill()
        await process.wait()


def _own_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for loopback and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pebble")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = (
        builder.not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, key_file = folder / "pebble.pem", folder / "pebble.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, key_file
