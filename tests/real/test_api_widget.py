"""The chat widget in a real browser, on a shop's page with a strict content security policy."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, JSONResponse
from playwright.async_api import Browser, Page, async_playwright, expect
from tests.real.api_scene import DEADLINE_S, Scene, open_session, scene, until_replied
from tests.real.test_web_chat_page import CHROMIUM, FLAGS

from subclaw.store.database import DatabaseAddress
from subclaw.testing.models import Aloud, Answer, Pause, ScriptedModel, aloud, calls, words
from subclaw.testing.serving import serving


@dataclass(kw_only=True)
class Shop:
    """A shop on an origin of its own, whose page has the widget."""

    scene: Scene
    browser: Browser
    key: str
    session: str
    port: int = 0
    life_s: int = 600
    tokens: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    wrong: list[str] = field(default_factory=list)

    async def token(self, *, life_s: int | None = None) -> str:
        async with self.scene.client(self.key) as client:
            body = {"life_s": life_s or self.life_s}
            return str((await client.post(f"/sessions/{self.session}/tokens", json=body)).json()["token"])

    async def open(self, attributes: str = "") -> Page:
        page = await self.browser.new_page(viewport={"width": 360, "height": 640})
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", lambda line: self._complained(line.text))
        await page.goto(f"http://127.0.0.1:{self.port}/?attributes={attributes}")
        return page

    def _complained(self, text: str) -> None:
        if re.search("content security|trusted|CORS", text, re.IGNORECASE):
            self.wrong.append(text)


def shop_app(shop: Shop) -> FastAPI:
    app = FastAPI()

    @app.get("/")
    async def page(attributes: str = "") -> HTMLResponse:
        host = shop.scene.url
        given = attributes or f'data-token="{await shop.token()}"'
        csp = (
            f"default-src 'none'; script-src {host}; connect-src {host} 'self'; base-uri 'none';"
            " require-trusted-types-for 'script'; trusted-types 'none'"
        )
        html = (
            f'<!doctype html><html lang="en"><title>Shop</title><script src="{host}/widget.js" {given}'
            ' data-title="Support" async></script><h1>Shop</h1>'
        )
        return HTMLResponse(html, headers={"Content-Security-Policy": csp})

    @app.post("/token")
    async def token() -> JSONResponse:
        shop.tokens += 1
        await shop.gate.wait()
        return JSONResponse({"token": await shop.token()})

    return app


ANSWERS = (words("Hello <b>you</b>!\nHow can I help?"), words("Bye."))


@asynccontextmanager
async def opened(address: DatabaseAddress, answers: Sequence[Answer]) -> AsyncIterator[Shop]:
    async with async_playwright() as playwright, scene(address, ScriptedModel(answers)) as made:
        key = await made.key()
        async with made.client(key) as client:
            session = await open_session(client, channel="widget")
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        shop = Shop(scene=made, browser=browser, key=key, session=session)
        shop.gate.set()
        async with serving(shop_app(shop)) as shop.port:
            yield shop
            await browser.close()
        assert shop.wrong == []


def play(
    steps: Callable[[Shop], Awaitable[None]], address: DatabaseAddress, answers: Sequence[Answer] = ANSWERS
) -> None:
    async def run() -> None:
        async with asyncio.timeout(2 * DEADLINE_S), opened(address, answers) as shop:
            await steps(shop)

    asyncio.run(run())


def test_a_customer_talks_on_the_shops_page(address: DatabaseAddress) -> None:
    async def steps(shop: Shop) -> None:
        page = await shop.open()
        opener = page.get_by_role("button", name="Open chat")
        await expect(opener).to_have_attribute("aria-expanded", "false")
        await opener.focus()
        await page.keyboard.press("Enter")
        box = page.get_by_role("textbox", name="Your message")
        await expect(box).to_be_focused()
        await page.keyboard.type("Where is my order?")
        await page.keyboard.press("Enter")
        log = page.get_by_role("log", name="Support")
        await expect(log.locator("p")).to_have_text(["Where is my order?", "Hello <b>you</b>!\nHow can I help?"])
        await expect(box).to_have_value("")
        panel = page.get_by_role("dialog", name="Support")
        background = await panel.evaluate("element => getComputedStyle(element).borderRadius")
        assert background == "16px", "the style is there, in spite of the policy"
        await page.keyboard.press("Escape")
        await expect(panel).to_be_hidden()
        await expect(opener).to_be_focused()
        await page.reload()
        await page.get_by_role("button", name="Open chat").click()
        await expect(log.locator("p")).to_have_count(2)

    play(steps, address)


def test_who_opens_the_chat_and_writes_at_once_has_one_token(address: DatabaseAddress) -> None:
    async def steps(shop: Shop) -> None:
        shop.gate.clear()
        page = await shop.open('data-token-url="/token"')
        await page.get_by_role("button", name="Open chat").click()
        await page.get_by_role("textbox", name="Your message").fill("Hi")
        await page.get_by_role("button", name="Send").click()
        shop.gate.set()
        await expect(page.get_by_role("log").locator("p")).to_have_count(2)
        assert shop.tokens == 1

    play(steps, address)


def test_a_token_that_has_ended_is_renewed_by_the_shop(address: DatabaseAddress) -> None:
    async def steps(shop: Shop) -> None:
        page = await shop.open('data-token="sct_eyJrIjoxLCJzIjoieCIsImUiOjF9.AAAA" data-token-url="/token"')
        await page.get_by_role("button", name="Open chat").click()
        await page.get_by_role("textbox", name="Your message").fill("Hi")
        await page.get_by_role("button", name="Send").click()
        await expect(page.get_by_role("log").locator("p")).to_have_count(2)
        assert shop.tokens >= 1

    play(steps, address)


def test_without_a_good_token_it_says_that_it_is_over(address: DatabaseAddress) -> None:
    async def steps(shop: Shop) -> None:
        page = await shop.open('data-token="sct_eyJrIjoxLCJzIjoieCIsImUiOjF9.AAAA"')
        await page.get_by_role("button", name="Open chat").click()
        await expect(page.get_by_role("status")).to_contain_text("This chat has ended")
        await expect(page.get_by_role("textbox", name="Your message")).to_be_disabled()

    play(steps, address)


def test_what_the_agent_says_later_appears_and_an_outage_is_survived(address: DatabaseAddress) -> None:
    async def steps(shop: Shop) -> None:
        page = await shop.open()
        await page.get_by_role("button", name="Open chat").click()
        await page.get_by_role("textbox", name="Your message").fill("Hi")
        await page.keyboard.press("Enter")
        lines = page.get_by_role("log").locator("p")
        await expect(lines).to_have_count(2)
        await page.context.set_offline(True)
        async with shop.scene.client(shop.key) as client:
            await client.post(f"/sessions/{shop.session}/events", json={"text": "from elsewhere"})
            await until_replied(client, shop.session, 2)
        await page.context.set_offline(False)
        await expect(lines).to_have_count(4, timeout=30_000)
        await expect(lines.last).to_have_text("Bye.")

    play(steps, address)


def test_words_are_shown_as_they_are_said_and_taken_back(address: DatabaseAddress) -> None:
    before, pause = Pause(), Pause()
    called = replace(calls(("refund", '{"amount": 3}')), text="I look.")

    async def steps(shop: Shop) -> None:
        page = await shop.open()
        await page.get_by_role("button", name="Open chat").click()
        await page.get_by_role("textbox", name="Your message").fill("Hi")
        await page.keyboard.press("Enter")
        lines = page.locator("subclaw-chat .log p")
        await expect(lines).to_have_text(["Hi", "I look it up <i>for"])
        before.go_on.set()
        await expect(lines).to_have_text(["Hi", "It is"])
        assert await lines.last.get_attribute("aria-hidden") == "true"
        pause.go_on.set()
        await expect(lines).to_have_text(["Hi", "It is done."])
        assert await lines.last.get_attribute("aria-hidden") is None, "the reply itself is read aloud"

    said = Aloud(pieces=["I look it up <i>", "for you", before], then=called)
    play(steps, address, [said, aloud("It is ", pause, "done.")])
