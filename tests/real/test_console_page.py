"""The console in a real browser: the link signs in, figures renew themselves, a machine is put to sleep."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect
from tests.real.console_scene import Scene, console, hear, plant
from tests.real.test_web_chat_page import CHROMIUM, FLAGS

from subclaw.console.gate import console_link
from subclaw.store.database import DatabaseAddress
from subclaw.testing.serving import serving

PHONE = {"width": 360, "height": 720}
DEADLINE_S = 60.0

Steps = Callable[[Scene, Browser, str], Awaitable[None]]


@asynccontextmanager
async def served(address: DatabaseAddress) -> AsyncIterator[tuple[Scene, str]]:
    async with console(address, "http://localhost") as scene, serving(scene.app) as port:
        yield scene, f"http://localhost:{port}"


def play(address: DatabaseAddress, steps: Steps) -> None:
    async def run() -> None:
        async with asyncio.timeout(DEADLINE_S), async_playwright() as playwright, served(address) as (scene, url):
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            try:
                await steps(scene, browser, url)
            finally:
                await browser.close()

    asyncio.run(run())


@asynccontextmanager
async def opened(context: BrowserContext) -> AsyncIterator[Page]:
    """Open a page, and fail if it complains of anything."""
    page, wrong = await context.new_page(), list[str]()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda line: wrong.append(line.text) if re.search("security|trusted", line.text, re.I) else None)
    yield page
    assert wrong == []


def test_the_operator_follows_the_link_watches_and_puts_a_machine_to_sleep(
    address: DatabaseAddress,
) -> None:
    async def steps(scene: Scene, browser: Browser, url: str) -> None:
        tenant_id = await plant(scene)
        asked: list[str] = []
        context = await browser.new_context(viewport=PHONE)  # type: ignore[arg-type]
        context.on("request", lambda request: asked.append(f"{request.url} {request.headers}"))
        async with opened(context) as page:
            await page.goto(console_link(url, scene.key))
            await expect(page).to_have_url(f"{url}/console")
            assert not any(scene.key in request for request in asked), "the key is in a form's body alone"
            figure = page.locator(".figures li", has_text="Messages").locator("strong")
            await expect(figure).to_have_text("4")
            await hear(scene.database, name="late-puffin", address="b" * 64)
            await expect(figure).to_have_text("5", timeout=15_000)
            await page.get_by_role("link", name="Machines", exact=True).click()
            await page.get_by_role("button", name="calm-otter").click()
            await expect(page.locator("tbody tr")).to_have_count(1)
            assert [machine.tenant_id for machine in scene.fleet.awake] == [tenant_id + 1]
            for path in ("", "/tenants", f"/tenants/{tenant_id}", "/outbox", "/machines"):
                await page.goto(f"{url}/console{path}")
                assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
                assert "owned" not in await page.title()
            await page.get_by_role("button", name="Sign out").click()
            await expect(page.get_by_label("Key")).to_be_visible()
            await page.goto(f"{url}/console/tenants")
            await expect(page.get_by_label("Key")).to_be_visible()

    play(address, steps)


def test_a_key_is_pasted_and_a_page_whose_session_is_over_asks_again(address: DatabaseAddress) -> None:
    async def steps(scene: Scene, browser: Browser, url: str) -> None:
        context = await browser.new_context()
        async with opened(context) as page:
            await page.goto(f"{url}/console")
            await page.get_by_label("Key").fill("wrong")
            await page.get_by_label("Key").press("Enter")
            await expect(page.get_by_role("alert")).to_contain_text("not the key")
            await page.get_by_label("Key").fill(scene.key)
            await page.get_by_label("Key").press("Enter")
            await expect(page.get_by_text("No turn runs")).to_be_visible()
            await context.clear_cookies()
            await expect(page.get_by_label("Key")).to_be_visible(timeout=15_000)

    play(address, steps)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_ground(address: DatabaseAddress, scheme: str) -> None:
    async def steps(scene: Scene, browser: Browser, url: str) -> None:
        await plant(scene)
        context = await browser.new_context(color_scheme=scheme)  # type: ignore[arg-type]
        async with opened(context) as page:
            await page.goto(console_link(url, scene.key))
            await expect(page).to_have_url(f"{url}/console")
            ground, ink = await page.evaluate(
                "['backgroundColor', 'color'].map((name) => getComputedStyle(document.documentElement)[name])"
            )
            assert abs(brightness(ground) - brightness(ink)) > 150

    play(address, steps)


def brightness(color: str) -> float:
    red, green, blue = map(float, re.findall(r"[\d.]+", color)[:3])
    return 0.299 * red + 0.587 * green + 0.114 * blue
