"""Certificates by a real ACME authority: on the first visit, for whom we know, and kept through a restart."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.name_server import NameServer, name_server
from tests.real.caddy_process import Answer, RunningCaddy, get, parse_answer, running_caddy
from tests.real.pebble import Pebble, running_pebble
from tests.real.upstream import served, upstream

from subclaw.core.route import Route
from subclaw.routes.certificates import CertificateGate, Question, certificates_app
from subclaw.routes.https import STRICT_S, CaddyHttps
from subclaw.store.certificates import Verdict
from subclaw.testing.serving import free_port

STRICT = f"max-age={STRICT_S}"
KNOWN = {"ann.sites.example", "shop.example"}


@dataclass
class Scene:
    """A router with TLS, its authority, and what the control plane was asked."""

    caddy: RunningCaddy
    names: NameServer
    trusted: ssl.SSLContext
    questions: list[Question] = field(default_factory=list)

    async def visit(self, hostname: str, target: str = "/") -> tuple[str, str]:
        """Return what a hostname shows over TLS, and the serial number of its certificate."""
        answer, serial = await self.answered(hostname, target)
        return answer.text, serial

    async def answered(self, hostname: str, target: str = "/") -> tuple[Answer, str]:
        """Return what a hostname answers over TLS, and the serial number of its certificate."""
        assert self.caddy.settings.https
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.caddy.settings.https.port, ssl=self.trusted, server_hostname=hostname
        )
        try:
            writer.write(f"GET {target} HTTP/1.1\r\nHost: {hostname}\r\nConnection: close\r\n\r\n".encode())
            async with asyncio.timeout(20):
                answer = parse_answer("GET", await reader.read())
            certificate = writer.get_extra_info("ssl_object").getpeercert()
            assert ("DNS", hostname) in certificate["subjectAltName"]
            return answer, certificate["serialNumber"]
        finally:
            writer.close()


@asynccontextmanager
async def scene(tmp_path: Path, *, is_strict: bool = False) -> AsyncIterator[Scene]:
    https_port, http_port = free_port(), free_port()
    async with AsyncExitStack() as stack:
        names = await stack.enter_async_context(name_server())
        pebble: Pebble = await stack.enter_async_context(
            running_pebble(tmp_path, name_server=names.address, https_port=https_port, http_port=http_port)
        )

        def https(folder: Path) -> CaddyHttps:
            authority = folder / "authority.pem"
            authority.write_bytes(pebble.certificate.read_bytes())
            return CaddyHttps(
                directory=pebble.directory,
                socket=folder / "certificates.sock",
                authority=authority,
                port=https_port,
                http_port=http_port,
                is_strict=is_strict,
            )

        caddy = await stack.enter_async_context(
            running_caddy(domain="agents.example", sites_domain="sites.example", https=https)
        )
        made = Scene(caddy=caddy, names=names, trusted=await pebble.trusting())

        async def allow(question: Question) -> Verdict:
            made.questions.append(question)
            known = question.is_known or question.hostname in KNOWN
            return Verdict.ALLOWED if known else Verdict.UNKNOWN

        gate = CertificateGate(
            domain="agents.example",
            sites_domain="sites.example",
            serves=lambda hostname: (caddy.settings.sites / hostname).is_symlink(),
            allow=allow,
        )
        await stack.enter_async_context(served(caddy.folder / "certificates.sock", certificates_app(gate)))
        await stack.enter_async_context(upstream(caddy.settings.control_socket, "control"))
        for hostname in (*KNOWN, "agents.example", "stranger.sites.example"):
            names.tell(hostname, "127.0.0.1")
        yield made


def page(caddy: RunningCaddy, text: str) -> Path:
    folder = caddy.folder / "files" / text
    folder.mkdir(parents=True)
    (folder / "index.html").write_text(text)
    return folder


def test_hostnames_have_certificates_on_the_first_visit_and_keep_them(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with asyncio.timeout(120), scene(tmp_path) as it:
            for hostname in sorted(KNOWN):
                await it.caddy.routes.put(Route(hostname=hostname, folder=page(it.caddy, hostname)))
            serials = {}
            for hostname in sorted(KNOWN):
                shown, serials[hostname] = await it.visit(hostname)
                assert shown == hostname
            assert '"name":"control"' in (await it.visit("agents.example"))[0]
            asked = len(it.questions)
            await it.caddy.kill()
            await it.caddy.start()
            for hostname in sorted(KNOWN):
                assert await it.visit(hostname) == (hostname, serials[hostname])
            assert len(it.questions) == asked

    asyncio.run(scenario())


def test_a_hostname_of_nobody_has_none_and_is_looked_up_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with asyncio.timeout(60), scene(tmp_path) as it:
            for _ in range(3):
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    await it.visit("stranger.sites.example")
            assert [question.hostname for question in it.questions] == ["stranger.sites.example"]
            assert it.names.questions == [], "the authority was never asked"

    asyncio.run(scenario())


def test_plain_http_leads_to_https_and_tells_nothing_else(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with asyncio.timeout(60), scene(tmp_path) as it:
            https = it.caddy.settings.https
            assert https
            moved = await get(https.http_port, "ann.sites.example", "/a?b=c")
            assert moved.status == 308
            assert moved.headers["location"] == f"https://ann.sites.example:{https.port}/a?b=c"
            assert (await get(https.http_port, "evil@x/")).status in (400, 404)
            for target in ("/-/certificate?domain=ann.sites.example", "/%2d/certificate?domain=shop.example"):
                assert (await get(https.http_port, "agents.example", target)).status == 308
                shown, _ = await it.visit("agents.example", target)
                assert "Nothing here yet" in shown, "only the router itself may ask"
            assert [question.hostname for question in it.questions] == ["agents.example"]

    asyncio.run(scenario())


@pytest.mark.parametrize("is_strict", [True, False])
def test_browsers_are_held_to_tls_by_every_answer_or_by_none(tmp_path: Path, is_strict: bool) -> None:
    async def scenario() -> None:
        async with asyncio.timeout(60), scene(tmp_path, is_strict=is_strict) as it:
            https, door = it.caddy.settings.https, it.caddy.settings.doors / "1-80.sock"
            assert https
            await it.caddy.routes.put(Route(hostname="ann.sites.example", folder=page(it.caddy, "ann")))
            await it.caddy.routes.put(Route(hostname="shop.example", door=f"unix/{door}"))
            expected = [STRICT] if is_strict else []
            async with upstream(door, "shop"):
                for hostname, target, status in (
                    ("ann.sites.example", "/", 200),
                    ("ann.sites.example", "/missing", 404),
                    ("agents.example", "/", 200),
                    ("shop.example", "/", 200),
                ):
                    answer, _ = await it.answered(hostname, target)
                    assert (answer.status, answer.every("strict-transport-security")) == (status, expected)
                (own,) = (await it.answered("shop.example", "/strict"))[0].every("strict-transport-security")
                assert own == (STRICT if is_strict else "max-age=1"), "the operator's word, not a server's"
            plain = await get(https.http_port, "ann.sites.example")
            inner = await it.caddy.get("agents.example")
            assert plain.every("strict-transport-security") == inner.every("strict-transport-security") == []

    asyncio.run(scenario())


def test_this_host_itself_reaches_the_control_plane_without_a_certificate(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with asyncio.timeout(60), scene(tmp_path) as it:
            for hostname in ("127.0.0.1", "agents.example"):
                assert '"name":"control"' in (await it.caddy.get(hostname)).text
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.2", it.caddy.settings.port)

    asyncio.run(scenario())
