"""The chat page in a real browser, against the real routes and a conversation in memory."""

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from fastapi import FastAPI
from playwright.async_api import Browser, BrowserContext, Page, Route, async_playwright, expect

from subclaw.channels.web.inbound import web_router
from subclaw.core.channel import Address
from subclaw.core.errors import NotFound
from subclaw.core.outgoing import OutgoingFile
from subclaw.pages.files import files_router
from subclaw.store.outgoing import LinkedFile
from subclaw.testing.chat import MemoryChat
from subclaw.testing.serving import serving

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE = {"width": 360, "height": 640}
DEADLINE_S = 60.0
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@dataclass(kw_only=True)
class Scene:
    """A chat in memory, its server, and a browser."""

    chat: MemoryChat
    browser: Browser
    app: FastAPI = field(default_factory=FastAPI)
    port: int = 0
    wrong: list[str] = field(default_factory=list)
    """What the pages complained of: exceptions, and violations of the content security policy."""

    async def open(self, path: str = "/", context: BrowserContext | None = None) -> Page:
        context = context or await self.browser.new_context(viewport=PHONE, locale="en-GB")  # type: ignore[arg-type]
        page = await context.new_page()
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", lambda line: self._complained(line.text))
        await page.goto(f"http://127.0.0.1:{self.port}{path}")
        return page

    def _complained(self, text: str) -> None:
        if re.search("content security|trusted", text, re.IGNORECASE):
            self.wrong.append(text)

    async def sender(self, messages: int = 1) -> Address:
        """Wait until so many messages are stored, and return the address of the last one."""
        async with asyncio.timeout(DEADLINE_S):
            await self.chat.wait_received(messages)
        return self.chat.received[-1].sender


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        made = Scene(chat=MemoryChat(), browser=browser)
        async with serving(made.app) as made.port:
            url = f"http://127.0.0.1:{made.port}"
            made.app.include_router(web_router(intake=made.chat, feed=made.chat, title="subclaw", public_url=url))
            yield made
            # Closed first, so that no event stream keeps the server waiting.
            await browser.close()
        assert made.wrong == []


def play(steps: Callable[[Scene], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(DEADLINE_S), scene() as made:
            await steps(made)

    asyncio.run(run())


async def say(page: Page, text: str) -> None:
    await page.get_by_label("Your message").fill(text)
    await page.get_by_label("Your message").press("Enter")


def test_a_stranger_is_greeted_taps_a_suggestion_and_gets_a_link() -> None:
    async def steps(made: Scene) -> None:
        page = await made.open()
        await expect(page.locator("#greeting")).to_be_visible()
        assert await page.locator(".suggestions button").count() == 3
        assert made.chat.received == []
        await page.get_by_role("button", name="Build me an invoice generator").click()
        await expect(page.locator("#greeting")).to_be_hidden()
        await expect(page.locator(".message.person")).to_have_count(1)
        address = await made.sender()
        await made.chat.type(address, True)
        await expect(page.locator("#typing")).to_be_visible()
        await made.chat.reply(address, "It is live: http://bold-otter.localhost:8080/.\nShall I add your logo?")
        await expect(page.locator("#typing")).to_be_hidden()
        link = page.get_by_role("link", name="bold-otter")
        await expect(link).to_have_attribute("href", "http://bold-otter.localhost:8080/")
        await expect(link).to_have_attribute("rel", "noopener")
        await expect(page.locator(".message.agent .bubble")).to_have_text(
            "It is live: http://bold-otter.localhost:8080/.\nShall I add your logo?"
        )
        assert made.chat.received[0].text == "Build me an invoice generator"

    play(steps)


def test_enter_sends_and_shift_enter_breaks_the_line() -> None:
    async def steps(made: Scene) -> None:
        page = await made.open()
        box = page.get_by_label("Your message")
        await expect(page.get_by_label("Send")).to_be_disabled()
        low = await box.evaluate("(box) => box.offsetHeight")
        await box.press_sequentially("one")
        for _ in range(3):
            await box.press("Shift+Enter")
        await box.press_sequentially("two")
        assert await box.evaluate("(box) => box.offsetHeight") > low * 2
        await box.press("Enter")
        await made.sender()
        await expect(box).to_have_value("")
        assert made.chat.received[0].text == "one\n\n\ntwo"
        await expect(page.locator(".person .bubble")).to_have_text("one\n\n\ntwo")

    play(steps)


def test_a_reload_shows_the_conversation_once() -> None:
    async def steps(made: Scene) -> None:
        page = await made.open()
        await say(page, "remember me")
        await made.chat.reply(await made.sender(), "I do")
        await expect(page.locator(".message")).to_have_count(2)
        await page.reload()
        await expect(page.locator("#log")).to_have_attribute("aria-busy", "false")
        await expect(page.locator(".bubble")).to_have_text(["remember me", "I do"])
        await expect(page.locator("#greeting")).to_be_hidden()

    play(steps)


def test_a_restart_of_the_server_loses_nothing_and_doubles_nothing() -> None:
    async def steps(made: Scene) -> None:
        app = FastAPI()
        context = await made.browser.new_context(viewport=PHONE)  # type: ignore[arg-type]
        async with serving(app) as port:
            url = f"http://127.0.0.1:{port}"
            app.include_router(web_router(intake=made.chat, feed=made.chat, title="subclaw", public_url=url))
            made.port = port
            page = await made.open(context=context)
            await say(page, "before")
            await made.chat.reply(await made.sender(), "reply before")
            await expect(page.locator(".message.agent")).to_have_count(1)
        await expect(page.locator("#connection")).to_contain_text("Connection lost")
        await say(page, "meanwhile")
        await expect(page.locator(".note")).to_contain_text("Waiting")
        await made.chat.reply(made.chat.received[0].sender, "reply meanwhile")
        async with serving(app, port=port):
            await made.sender(messages=2)
            await made.chat.reply(made.chat.received[0].sender, "reply after")
            await expect(page.locator(".message.agent .bubble")).to_have_text(
                ["reply before", "reply meanwhile", "reply after"], timeout=20_000
            )
            await expect(page.locator("#connection")).to_be_empty()
            await expect(page.locator(".message.person .bubble")).to_have_text(["before", "meanwhile"])
            await expect(page.locator(".note")).to_have_count(0)
            assert [received.text for received in made.chat.received] == ["before", "meanwhile"]
            await context.close()

    play(steps)


def test_a_lost_acknowledgement_does_not_send_twice() -> None:
    async def steps(made: Scene) -> None:
        page = await made.open()
        posts: list[str] = []
        retried = asyncio.Event()

        async def lose_first(route: Route) -> None:
            posts.append(json.loads(route.request.post_data or "")["id"])
            if len(posts) == 1:
                await route.fetch()
                await route.abort("connectionreset")
            else:
                await route.continue_()
                retried.set()

        await page.route("**/chat/messages", lose_first)
        await say(page, "only once")
        async with asyncio.timeout(10):
            await retried.wait()
        assert posts[0] == posts[1]
        await expect(page.locator(".message.person")).to_have_attribute("data-state", "sent")
        await expect(page.locator(".bubble")).to_have_text(["only once"])
        assert len(made.chat.received) == 1

    play(steps)


def test_an_intake_that_is_down_is_tried_again() -> None:
    async def steps(made: Scene) -> None:
        page = await made.open()
        await expect(page.locator("#greeting")).to_be_visible()
        made.chat.available = False
        await say(page, "patience")
        await expect(page.locator(".note")).to_contain_text("Waiting")
        made.chat.available = True
        await made.sender()
        await expect(page.locator(".note")).to_have_count(0)
        await expect(page.locator(".bubble")).to_have_text(["patience"])

    play(steps)


def test_what_cannot_go_out_says_so_and_can_be_tried_again() -> None:
    async def steps(made: Scene) -> None:
        page = await made.open()
        await page.clock.install()
        await page.route("**/chat/messages", lambda route: route.abort())
        await say(page, "first")
        await say(page, "second")
        await expect(page.locator(".note")).to_have_count(1)
        # A try that has not failed yet has no timer: then the clock goes on for nothing, and must go on again.
        while await page.get_by_role("button", name="Try again").count() < 2:
            await page.clock.run_for(20_000)
        await expect(page.locator(".note")).to_have_text(["Not sent.Try again"] * 2)
        await page.unroute("**/chat/messages")
        await page.get_by_role("button", name="Try again").first.click()
        await made.sender()
        await page.clock.run_for(1000)
        await expect(page.locator(".note")).to_have_count(1)
        assert [received.text for received in made.chat.received] == ["first"]

    play(steps)


def test_what_was_not_sent_is_still_there_after_a_reload() -> None:
    async def steps(made: Scene) -> None:
        page = await made.open()
        await expect(page.locator("#greeting")).to_be_visible()
        made.chat.available = False
        await say(page, "keep me")
        await expect(page.locator(".note")).to_contain_text("Waiting")
        made.chat.available = True
        await page.reload()
        await made.sender()
        await expect(page.locator(".bubble")).to_have_text(["keep me"])
        await expect(page.locator(".message.person")).to_have_attribute("data-state", "sent")

    play(steps)


def test_300_kilobytes_are_refused_in_words_and_given_back() -> None:
    async def steps(made: Scene) -> None:
        page = await made.open()
        await say(page, "y" * 300_000)
        await expect(page.locator(".note")).to_contain_text("300,000 characters")
        await page.get_by_role("button", name="Edit").click()
        await expect(page.locator(".message")).to_have_count(0)
        await expect(page.get_by_label("Your message")).to_have_value("y" * 300_000)
        await page.get_by_label("Your message").fill("shorter")
        await page.get_by_label("Send").click()
        await made.sender()
        assert [received.text for received in made.chat.received] == ["shorter"]

    play(steps)


@pytest.mark.parametrize(
    "text",
    [
        "<img src=x onerror=\"document.title='owned'\">",
        "<script>document.title='owned'</script>",
        "javascript:document.title='owned' data:text/html,x",
        "https://a.example/\"onmouseover=\"document.title='owned'",
        "[x](javascript:alert(1)) &lt;b&gt;",
    ],
)
def test_markup_is_shown_as_text(text: str) -> None:
    async def steps(made: Scene) -> None:
        page = await made.open()
        await say(page, text)
        await made.chat.reply(await made.sender(), text)
        await expect(page.locator(".bubble")).to_have_text([text, text])
        assert await page.locator(".bubble :not(a)").count() == 0
        for link in await page.locator(".bubble a").all():
            assert str(await link.get_attribute("href")).startswith("https://a.example/")
        assert await page.title() == "subclaw"

    play(steps)


@pytest.mark.parametrize(
    ("text", "links"),
    [
        ("see http://a.example/x, then https://b.example.", ["http://a.example/x", "https://b.example/"]),
        ("(https://a.example/x_(y))", ["https://a.example/x_(y)"]),
        ("**https://a.example/**", ["https://a.example/"]),
        ("https://a.example/\u202egro.elpmaxe", ["https://a.example/"]),
        ("HTTPS://A.example/Ä?q=ü#z", ["https://a.example/%C3%84?q=%C3%BC#z"]),
        ("http:// ftp://a.example mailto:a@a.example a.example http://[", []),
    ],
)
def test_links_are_found(text: str, links: list[str]) -> None:
    async def steps(made: Scene) -> None:
        page = await made.open()
        await say(page, "links?")
        await made.chat.reply(await made.sender(), text)
        await expect(page.locator(".agent .bubble")).to_have_text(text)
        assert [await link.get_attribute("href") for link in await page.locator(".agent a").all()] == links

    play(steps)


def test_right_to_left_and_emoji_are_shown_as_they_were_written() -> None:
    async def steps(made: Scene) -> None:
        page = await made.open()
        hebrew, family = "שלום! הדף מוכן (12:30)", "👩‍👩‍👧 🇮🇱 ❤️"
        await say(page, hebrew)
        await made.chat.reply(await made.sender(), family)
        await expect(page.locator(".bubble")).to_have_text([hebrew, family])
        direction = "(bubble) => [getComputedStyle(bubble).direction, getComputedStyle(bubble).unicodeBidi]"
        assert await page.locator(".person .bubble").evaluate(direction) == ["rtl", "isolate"]
        assert await page.locator(".agent .bubble").evaluate(direction) == ["ltr", "isolate"]

    play(steps)


def test_the_link_goes_on_elsewhere_in_the_same_conversation() -> None:
    async def steps(made: Scene) -> None:
        page = await made.open()
        await say(page, "from my desk")
        await made.chat.reply(await made.sender(), "noted")
        await page.get_by_role("button", name="Continue on your phone").click()
        box = page.get_by_label("Your link")
        await expect(box).to_have_value(re.compile("/c/"))
        path = "/c/" + (await box.input_value()).rsplit("/", 1)[1]
        assert path.removeprefix("/c/") not in await page.content()
        phone = await made.open(path)
        await expect(phone.locator(".bubble")).to_have_text(["from my desk", "noted"])
        assert phone.url.endswith(f":{made.port}/")
        await say(phone, "from my phone")
        await expect(page.locator(".bubble")).to_have_text(["from my desk", "noted", "from my phone"])
        # A browser that is in a conversation already is asked first.
        other = await made.open()
        await other.goto(f"http://127.0.0.1:{made.port}{path}")
        await other.get_by_role("button", name="Switch").click()
        await expect(other.locator(".bubble")).to_have_count(3)

    play(steps)


def test_the_end_stays_in_view_unless_the_reader_went_up() -> None:
    async def steps(made: Scene) -> None:
        page = await made.open()
        await say(page, "talk")
        address = await made.sender()
        for number in range(30):
            await made.chat.reply(address, f"line {number}\nand more")
        await expect(page.locator(".message")).to_have_count(31)
        left = "(s) => s.scrollHeight - s.scrollTop - s.clientHeight"
        scroller = page.locator("#scroller")
        assert await scroller.evaluate(left) < 2
        await scroller.evaluate("(s) => new Promise((done) => { s.onscroll = done; s.scrollTop = 0; })")
        await made.chat.reply(address, "while you read")
        await expect(page.locator("#latest")).to_be_visible()
        assert await scroller.evaluate("(s) => s.scrollTop") == 0
        await page.locator("#latest").click()
        assert await scroller.evaluate(left) < 2
        await expect(page.locator("#latest")).to_be_hidden()

    play(steps)


def test_it_fits_a_small_phone_and_can_be_read_aloud() -> None:
    async def steps(made: Scene) -> None:
        page = await made.open()
        await say(page, "a" * 500)
        await made.chat.reply(await made.sender(), "https://a.example/" + "b" * 500)
        await expect(page.locator(".message.agent")).to_be_visible()
        wide = "() => document.documentElement.scrollWidth > innerWidth || scroller.scrollWidth > scroller.clientWidth"
        assert not await page.evaluate(wide)
        # iOS zooms into smaller ones.
        size = await page.get_by_label("Your message").evaluate("(box) => parseFloat(getComputedStyle(box).fontSize)")
        assert size >= 16
        await expect(page.get_by_role("log", name="Conversation")).to_have_attribute("aria-live", "polite")
        await expect(page.locator(".message.agent .unseen")).to_have_text("Agent said:")
        await expect(page.get_by_role("log")).to_have_attribute("aria-busy", "false")

    play(steps)


def test_going_away_and_back_goes_on() -> None:
    async def steps(made: Scene) -> None:
        page = await made.open()
        await say(page, "one")
        address = await made.sender()
        await expect(page.locator(".message")).to_have_count(1)
        await page.goto(f"http://127.0.0.1:{made.port}/c/nothing")
        await made.chat.reply(address, "while away")
        await page.go_back()
        await expect(page.locator(".bubble")).to_have_text(["one", "while away"])
        await made.chat.reply(address, "and after")
        await expect(page.locator(".bubble")).to_have_text(["one", "while away", "and after"])

    play(steps)


def test_files_are_shown_as_pictures_or_as_names_with_sizes() -> None:
    picture = OutgoingFile(id="pic", name="chart.png", title="the chart", media_type="image/png", size_bytes=len(PIXEL))
    report = OutgoingFile(
        id="rep", name="r.pdf", title="<b>the report</b>", media_type="application/pdf", size_bytes=1_234_567
    )
    gone = OutgoingFile(id="gone", name="old.png", title="old", media_type="image/png", size_bytes=900)

    async def pieces(content: bytes) -> AsyncIterator[bytes]:
        yield content

    async def open_file(id: str) -> LinkedFile:
        if id != "pic":
            raise NotFound("It is not kept any more.")
        return LinkedFile(name="chart.png", media_type="image/png", size_bytes=len(PIXEL), pieces=pieces(PIXEL))

    async def steps(made: Scene) -> None:
        made.app.include_router(files_router(open_file))
        page = await made.open()
        await say(page, "the figures, please")
        address = await made.sender()
        await made.chat.reply(address, "Here.", picture, report, gone)
        await made.chat.reply(address, "", picture)
        image = page.get_by_role("img", name="the chart").first
        await expect(image).to_have_js_property("naturalWidth", 1)
        await expect(page.locator(".file").first).to_have_attribute("href", "/files/pic/chart.png")
        await expect(page.locator(".file").nth(1)).to_have_text("<b>the report</b>1.2 MB")
        await expect(page.locator(".file").nth(2)).to_have_text("old900 bytes")
        await expect(page.locator(".message.agent")).to_have_count(2)
        await expect(page.locator(".message.agent .bubble")).to_have_text(["Here."])
        async with page.expect_download() as download:
            await page.locator(".file").first.click()
        assert (await download.value).suggested_filename == "chart.png"

    play(steps)
