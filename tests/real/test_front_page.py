"""The operator's front page in a real browser: what somebody sees who has never been here."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fastapi import FastAPI
from playwright.async_api import Browser, Page, async_playwright, expect
from tests.real.test_web_chat_page import CHROMIUM, DEADLINE_S, FLAGS, PHONE, say

from subclaw.channels.web.front import kept_front
from subclaw.channels.web.inbound import web_router
from subclaw.channels.web.ways import make_way
from subclaw.testing.chat import MemoryChat
from subclaw.testing.serving import serving

DESK = {"width": 1280, "height": 900}
SMALL = {"width": 320, "height": 568}
OWN = """
name = "Tea & Code"
title = "A page for your <stand>"
words = \"\"\"
Made **here**. <script>document.title = "taken over"</script> [Mail](mailto:ada@example.org), [no](javascript:alert(1)).

![tracker](https://example.org/pixel.png)
\"\"\"
suggestions = ["Make my menu"]
"""


@dataclass(kw_only=True)
class Scene:
    """A page, its server, and a browser; `front_file` is where the operator's words would be."""

    browser: Browser
    chat: MemoryChat
    front_file: Path
    port: int = 0
    wrong: list[str] = field(default_factory=list)

    async def open(self, size: dict[str, int], *, scripts: bool = True) -> Page:
        context = await self.browser.new_context(viewport=size, java_script_enabled=scripts)  # type: ignore[arg-type]
        page = await context.new_page()
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", lambda line: self._complained(line.text))
        await page.goto(f"http://127.0.0.1:{self.port}/")
        return page

    def _complained(self, text: str) -> None:
        if re.search("content security|trusted", text, re.IGNORECASE):
            self.wrong.append(text)


@asynccontextmanager
async def scene(front_file: Path) -> AsyncIterator[Scene]:
    ways = [make_way("sms", "Text", "+15550100123"), make_way("telegram", "Telegram", "https://t.me/subclaw_bot")]
    app, chat = FastAPI(), MemoryChat()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        async with serving(app) as port:
            app.include_router(
                web_router(
                    intake=chat,
                    feed=chat,
                    title="subclaw",
                    public_url=f"http://127.0.0.1:{port}",
                    front=kept_front(front_file, "subclaw"),
                    ways=ways,
                )
            )
            made = Scene(browser=browser, chat=chat, front_file=front_file, port=port)
            yield made
            await browser.close()
        assert made.wrong == []


def play(folder: Path, steps: Callable[[Scene], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(DEADLINE_S), scene(folder / "front.toml") as made:
            await steps(made)

    asyncio.run(run())


async def overflow_px(page: Page) -> int:
    return int(await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@pytest.mark.parametrize("size", [PHONE, SMALL, DESK], ids=["phone", "small phone", "desk"])
def test_a_stranger_sees_what_this_is_the_number_and_where_to_write(tmp_path: Path, size: dict[str, int]) -> None:
    async def steps(made: Scene) -> None:
        page = await made.open(size)
        await expect(page.locator("#log")).to_have_attribute("aria-busy", "false")
        await expect(page.get_by_role("heading", name="What shall we make?")).to_be_in_viewport()
        await expect(page.get_by_text("The first message gets you an agent and a site.")).to_be_visible()
        number = page.get_by_role("link", name="+15550100123")
        await expect(number).to_have_attribute("href", "sms:+15550100123?&body=Hello")
        await expect(page.get_by_role("link", name="t.me/subclaw_bot")).to_be_visible()
        await expect(page.get_by_label("Your message")).to_be_in_viewport()
        assert await overflow_px(page) <= 0
        codes = page.locator(".way img")
        assert await codes.count() == 2
        for code in await codes.all():
            assert await code.is_visible() is (size is DESK), "nobody scans the phone that they hold"
            assert await code.evaluate("(image) => image.complete && image.naturalWidth > 100") or size is not DESK
        box = await number.bounding_box()
        assert box is not None
        assert box["height"] >= 24

    play(tmp_path, steps)


def test_what_this_is_stands_there_without_scripts(tmp_path: Path) -> None:
    async def steps(made: Scene) -> None:
        page = await made.open(PHONE, scripts=False)
        await expect(page.get_by_role("heading", name="What shall we make?")).to_be_visible()
        await expect(page.get_by_role("link", name="+15550100123")).to_be_visible()

    play(tmp_path, steps)


def test_the_conversation_takes_the_place_of_the_words_and_stays_there(tmp_path: Path) -> None:
    async def steps(made: Scene) -> None:
        page = await made.open(PHONE)
        await say(page, "hello")
        await expect(page.locator("#greeting")).to_be_hidden()
        await made.chat.wait_received(1)
        await page.reload()
        await expect(page.locator(".message.person")).to_have_count(1)
        await expect(page.locator("#greeting")).to_be_hidden()

    play(tmp_path, steps)


def test_the_words_are_the_operators_while_it_runs_and_no_markup_of_theirs_acts(tmp_path: Path) -> None:
    async def steps(made: Scene) -> None:
        page = await made.open(DESK)
        made.front_file.write_text(OWN)
        await page.reload()
        await expect(page).to_have_title("Tea & Code")
        await expect(page.locator("#greeting h2")).to_have_text("A page for your <stand>")
        await expect(page.locator(".words strong")).to_have_text("here")
        await expect(page.get_by_role("link", name="Mail")).to_have_attribute("rel", "noopener noreferrer")
        assert await page.locator(".words script, .words img").count() == 0
        assert await page.locator(".words a").count() == 2, "the mail, and what was to be an image"
        await expect(page.get_by_role("button", name="Make my menu")).to_be_visible()
        made.front_file.write_text("title = 4")
        await page.reload()
        await expect(page).to_have_title("Tea & Code")
        made.front_file.unlink()
        await page.reload()
        await expect(page).to_have_title("subclaw")

    play(tmp_path, steps)
