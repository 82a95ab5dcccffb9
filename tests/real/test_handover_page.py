"""The page on which a secret is handed over, in a real browser that runs no scripts, on a phone."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable

from playwright.async_api import Browser, Page, async_playwright, expect
from tests.real.access_scene import KEY, Scene, link_in, play
from tests.real.test_web_chat_page import CHROMIUM, FLAGS, PHONE

from subclaw.channels.web.inbound import web_router
from subclaw.core.tenant import TenantId
from subclaw.store.database import DatabaseAddress
from subclaw.store.feed import StoreFeed
from subclaw.testing.models import ScriptedModel, calls, words
from subclaw.testing.serving import serving
from subclaw.turns.intake import StoreIntake

WANTED = {"reason": "to clone your things", "secret": "GITHUB_TOKEN", "hosts": ["api.github.com"]}
Steps = Callable[[Scene, Browser, str], Awaitable[None]]


def browse(address: DatabaseAddress, model: ScriptedModel, steps: Steps) -> None:
    async def serve(scene: Scene) -> None:
        async with async_playwright() as playwright, serving(scene.app) as port:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            try:
                await steps(scene, browser, f"http://localhost:{port}")
            finally:
                await browser.close()

    play(serve, address, model)


async def opened(browser: Browser, url: str, wrong: list[str], *, scripts: bool = False) -> Page:
    """Open a page on a phone. What it complains of goes to `wrong`."""
    context = await browser.new_context(viewport=PHONE, java_script_enabled=scripts, locale="en-GB")  # type: ignore[arg-type]
    page = await context.new_page()
    page.on("console", lambda line: wrong.append(line.text) if re.search("security|policy", line.text, re.I) else None)
    await page.goto(url)
    return page


def test_a_person_hands_over_what_the_agent_asked_for(address: DatabaseAddress) -> None:
    async def steps(scene: Scene, browser: Browser, url: str) -> None:
        async with scene.worker():
            await scene.ask("clone it")
            wrong: list[str] = []
            page = await opened(browser, url + link_in(scene.told()), wrong)
            asked: list[str] = []
            page.on("request", lambda request: asked.append(f"{request.url} {request.headers.get('referer', '')}"))
            await expect(page.get_by_role("heading", level=2)).to_have_text("Hand over GITHUB_TOKEN")
            await expect(page.locator("blockquote")).to_have_text("to clone your things")
            await expect(page.locator(".opens")).to_contain_text("may reach api.github.com")
            field = page.get_by_label("The secret itself")
            await expect(field).to_have_attribute("type", "password")
            await expect(field).to_have_attribute("autocomplete", "off")
            # A look of its own, though the policy allows next to nothing.
            assert await page.locator("button").evaluate("(button) => getComputedStyle(button).borderRadius") == "22px"
            width = await page.evaluate("document.documentElement.scrollWidth")
            assert width <= PHONE["width"]
            await field.fill(KEY)
            await page.get_by_role("button", name="Hand over").click()
            await expect(page.get_by_role("heading", level=2)).to_have_text("Thank you")
            assert KEY not in await page.content()
            assert (await scene.until_replies(2))[-1] == "cloned"
            await page.goto(url + link_in(scene.told()))
            await expect(page.get_by_role("heading", level=2)).to_have_text("It is there")
        assert wrong == []
        assert all(one.endswith(" ") for one in asked), "no address of the page goes anywhere"
        assert await scene.secrets(TenantId(1)) == {"GITHUB_TOKEN": KEY}

    asks = calls(("ask_for_access", json.dumps(WANTED)))
    browse(address, ScriptedModel([asks, words("follow the link"), words("cloned")]), steps)


def test_a_key_sent_in_the_chat_is_gone_from_the_page_and_handed_over_by_the_link(address: DatabaseAddress) -> None:
    async def steps(scene: Scene, browser: Browser, url: str) -> None:
        intake = StoreIntake(scene.database, sends=lambda _: False, public_url=url)
        feed = StoreFeed(scene.database, address)
        listening = asyncio.create_task(feed.run())
        await feed.listening.wait()
        scene.app.include_router(web_router(intake=intake, feed=feed, title="subclaw", public_url=url))
        wrong: list[str] = []
        async with scene.worker():
            chat = await opened(browser, url, wrong, scripts=True)
            await chat.get_by_label("Your message").fill(f"my token is {KEY}")
            await chat.get_by_label("Your message").press("Enter")
            await expect(chat.locator(".agent .bubble")).to_have_count(2)
            await expect(chat.locator(".person .bubble")).to_have_text("my token is [a GitHub token was removed]")
            assert KEY not in await chat.content()
            assert KEY not in await chat.evaluate("JSON.stringify({...localStorage, ...sessionStorage})")
            link = await chat.locator(".agent .bubble a").first.get_attribute("href")
            assert link
            page = await opened(browser, link, wrong)
            await expect(page.get_by_label("What it is called")).to_have_value("GITHUB_TOKEN")
            await page.get_by_label("The secret itself").fill(KEY)
            await page.get_by_label("Which hosts").fill("nowhere")
            await page.get_by_role("button", name="Hand over").click()
            await expect(page.get_by_role("alert")).to_contain_text("full hostname")
            await expect(page.get_by_label("The secret itself")).to_have_value("")
            await page.get_by_label("Which hosts").fill("api.github.com")
            await page.get_by_label("The secret itself").fill(KEY)
            await page.get_by_role("button", name="Hand over").click()
            await expect(page.get_by_role("heading", level=2)).to_have_text("Thank you")
            await expect(chat.locator(".agent .bubble")).to_have_count(3)
        await browser.close()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        assert wrong == []
        assert await scene.secrets(TenantId(1)) == {"GITHUB_TOKEN": KEY}

    browse(address, ScriptedModel([words("I wait"), words("thank you")]), steps)
