"""The web process itself serves the API and the widget, beside everything else."""

import asyncio
import contextlib
import os
import secrets
import tempfile
from pathlib import Path

import httpx2

from subclaw.app.web import run_web
from subclaw.config import load_settings
from subclaw.console.keyfile import fresh_key
from subclaw.core.api_key import KEY_BYTES, Scope, new_key
from subclaw.egress.keys import ensure_key
from subclaw.home import Home
from subclaw.store.api_keys import make_key
from subclaw.store.database import DatabaseAddress, Role, open_database

DEADLINE_S = 30.0


def test_the_api_and_the_widget_are_where_the_document_says(address: DatabaseAddress) -> None:
    async def scenario(home: Home, key: str) -> None:
        async with open_database(address, Role.OPERATOR, size=1) as operator:
            await make_key(operator, key, name="t", scopes=[Scope.AGENTS_READ], agents=(), per_minute=60, life=None)
        settings = load_settings({"DATABASE_URL": address.url, "SUBCLAW_HOME": str(home.path)})
        web = asyncio.create_task(run_web(settings, 8080))
        transport = httpx2.AsyncHTTPTransport(uds=str(home.web_socket))
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", trust_env=False) as client:
            await until_served(client, web)
            document = (await client.get("/v1/openapi.json")).json()
            assert "/agents/{agent}/sessions" in document["paths"]
            listed = await client.get("/v1/agents", headers={"Authorization": f"Bearer {key}"})
            assert listed.json() == {"data": [], "next": None}
            lost = await client.get("/v1/nowhere")
            assert (lost.status_code, lost.headers["content-type"]) == (404, "application/problem+json")
            widget = await client.get("/widget.js")
            assert widget.headers["content-type"].startswith("text/javascript")
            kept = await client.get("/widget.js", headers={"If-None-Match": widget.headers["etag"]})
            assert kept.status_code == 304
        assert (home.api_keys / "receipts.key").stat().st_mode & 0o777 == 0o400
        web.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await web

    async def bounded(home: Home) -> None:
        async with asyncio.timeout(2 * DEADLINE_S):
            await scenario(home, new_key(secrets.token_bytes(KEY_BYTES)))

    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        for place in (home.web_socket.parent, home.console_key.parent, home.api_keys, home.releases):
            place.mkdir(parents=True)
        ensure_key(home.keys, os.getuid(), os.getgid())
        with fresh_key(home.console_key, home.console_key_hash, os.getgid()):
            asyncio.run(bounded(home))


async def until_served(client: httpx2.AsyncClient, web: asyncio.Task[None]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not web.done():
            with contextlib.suppress(httpx2.TransportError):
                await client.get("/healthz")
                return
            await asyncio.sleep(0.05)
    web.result()
