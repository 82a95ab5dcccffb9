"""Hostnames without a route, through a real Caddy: sites that are to come, and names that were given up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from tests.real.caddy_process import RunningCaddy, running_caddy
from tests.real.upstream import served

from subclaw.routes.publisher import SiteAddress
from subclaw.routes.unpublished import unpublished_router

NAMES = {"calm-otter": "calm-otter", "otter": "calm-otter"}


@asynccontextmanager
async def scene() -> AsyncIterator[RunningCaddy]:
    """Run a Caddy before a control plane that knows some names."""

    async def named_tenant(name: str) -> str | None:
        return NAMES.get(name)

    async with running_caddy() as caddy:
        app = FastAPI()
        address = SiteAddress(domain="localhost", port=caddy.settings.port)
        app.include_router(unpublished_router(named_tenant, address))
        async with served(caddy.settings.control_socket, app):
            yield caddy


def test_a_site_that_is_to_come_has_a_page_at_once() -> None:
    async def scenario() -> None:
        async with scene() as caddy:
            for target in ("/", "/deeper/page?x=1"):
                answer = await caddy.get("calm-otter.localhost", target, headers={"Cookie": "a=b"})
                assert answer.status == 200
                assert "calm-otter's site will be here" in answer.text.replace("&#x27;", "'")
                assert answer.headers["cache-control"] == "no-store"
                assert answer.headers["x-robots-tag"] == "noindex"

    asyncio.run(scenario())


def test_a_name_that_was_given_up_leads_on_with_the_whole_address() -> None:
    async def scenario() -> None:
        async with scene() as caddy:
            root = f"http://calm-otter.localhost:{caddy.settings.port}/"
            for target in ("/", "/menu/tea?size=2&x=%20y", "//evil.example/"):
                answer = await caddy.get("otter.localhost", target)
                assert answer.status == 302
                assert answer.headers["location"] == root + target.lstrip("/")

    asyncio.run(scenario())


def test_a_name_of_nobody_has_nothing_and_nothing_else_of_ours_is_reached() -> None:
    async def scenario() -> None:
        async with scene() as caddy:
            for hostname in ("nobody.localhost", "deeper.calm-otter.localhost", "calm-otter.example.org"):
                answer = await caddy.get(hostname)
                assert (answer.status, "Nothing here yet" in answer.text) == (404, True), hostname
            assert (await caddy.get("calm-otter.localhost", "/", method="POST")).status == 404

    asyncio.run(scenario())


def test_while_the_control_plane_is_away_there_is_nothing_here() -> None:
    async def scenario() -> None:
        async with running_caddy() as caddy:
            answer = await caddy.get("calm-otter.localhost")
            assert (answer.status, "Nothing here yet" in answer.text) == (404, True)

    asyncio.run(scenario())
