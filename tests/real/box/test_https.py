"""A real box with a public domain: its chat and its sites by https, with certificates from a real ACME authority."""

import asyncio
import re
import ssl
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.name_server import name_server
from tests.real.box.running import Somebody, running_box, state_folder
from tests.real.caddy_process import parse_answer
from tests.real.pebble import running_pebble

from subclaw.testing.serving import free_port


async def page(trusted: ssl.SSLContext, hostname: str, port: int) -> str:
    """Return what a hostname shows by https."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusted, server_hostname=hostname)
    try:
        writer.write(f"GET / HTTP/1.1\r\nHost: {hostname}:{port}\r\nConnection: close\r\n\r\n".encode())
        return parse_answer("GET", await reader.read()).text
    finally:
        writer.close()


def test_a_box_with_a_public_domain_serves_by_https(tmp_path: Path) -> None:
    https, http = free_port(), free_port()

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            names = await stack.enter_async_context(name_server())
            pebble = await stack.enter_async_context(
                running_pebble(tmp_path, name_server=names.address, https_port=https, http_port=http)
            )
            home = stack.enter_context(state_folder())
            authority = home.with_suffix(".pem")
            authority.write_bytes(pebble.certificate.read_bytes())
            stack.callback(authority.unlink)
            settings = {
                "SUBCLAW_DOMAIN": "agents.example",
                "SUBCLAW_SITES_DOMAIN": "sites.example",
                "SUBCLAW_HTTPS_PORT": str(https),
                "SUBCLAW_HTTP_PORT": str(http),
                "SUBCLAW_ACME_DIRECTORY": pebble.directory,
                "SUBCLAW_ACME_CA": str(authority),
            }
            running = running_box(home, **settings)
            box = await asyncio.to_thread(running.__enter__)
            stack.push_async_callback(asyncio.to_thread, running.__exit__, None, None, None)
            trusted = await pebble.trusting()
            names.tell("agents.example", "127.0.0.1")
            assert "<title>" in await page(trusted, "agents.example", https)
            (reply,) = await asyncio.to_thread(Somebody().ask, box, "make me a page about bees")
            site = re.search(rf"https://([a-z0-9-]+\.sites\.example):{https}/", reply)
            assert site, reply
            names.tell(site[1], "127.0.0.1")
            assert "bees" in await page(trusted, site[1], https)
            names.tell("nobody-at-all.sites.example", "127.0.0.1")
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await page(trusted, "nobody-at-all.sites.example", https)

    asyncio.run(scenario())
