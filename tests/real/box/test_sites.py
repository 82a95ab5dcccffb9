"""Sites of a real box: served with the machine asleep, served by the machine, and followed to in a browser."""

import asyncio
import re
import time

import psutil
import pytest
from playwright.async_api import async_playwright, expect
from tests.real.box.running import VISIT_LIMIT_S, RunningBox, Somebody, ask, exchange, visit, wait_for
from tests.real.box.watch import watching_qemu

from subclaw.core.tenant import TenantId

CHROMIUM = "/usr/bin/chromium"
UNDO_LIMIT_S = 2.0
"""A second, and as much again where everything shares two processors with the tests."""

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


def site_of(box: RunningBox, wish: str) -> tuple[str, TenantId]:
    """Ask for a page; return its address and whose it is."""
    (reply,) = ask(box, wish)
    url = re.search(r"http://[a-z0-9-]+\.localhost:\d+/", reply)
    assert url, reply
    return url[0], box.tenant_that_said(wish)


def put_to_sleep(box: RunningBox, tenant_id: TenantId) -> None:
    box.use_host(lambda host: host.sleep(tenant_id))
    assert not is_awake(box, tenant_id)


def is_awake(box: RunningBox, tenant_id: TenantId) -> bool:
    return tenant_id in {status.tenant_id for status in box.use_host(lambda host: host.statuses())}


def test_a_published_page_is_served_with_the_machine_asleep(demo_box: RunningBox) -> None:
    url, tenant_id = site_of(demo_box, "make me a page about bees")
    put_to_sleep(demo_box, tenant_id)
    with watching_qemu(demo_box.home) as watch:
        response = visit(demo_box, url)
    assert response.status_code == 200
    assert "bees" in response.text
    assert visit(demo_box, f"{url}nothing-here").status_code == 404
    assert watch.started == set()
    assert not is_awake(demo_box, tenant_id)


def test_a_page_is_changed_and_taken_back_by_text_in_a_second(demo_box: RunningBox) -> None:
    ann = Somebody()
    (first,) = ann.ask(demo_box, "make me a page about bees")
    found = re.search(r"http://[a-z0-9-]+\.localhost:\d+/", first)
    assert found, first
    ann.ask(demo_box, "make me a page about lighthouses")
    put_to_sleep(demo_box, demo_box.tenant_that_said("make me a page about lighthouses"))

    async def scenario() -> None:
        async with asyncio.timeout(60), async_playwright() as playwright, ann.at(demo_box) as person:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            try:
                page = await browser.new_page()
                await page.goto(found[0])
                await expect(page.locator("body")).to_contain_text("lighthouses")
                for said, shown in (("undo", "bees"), ("redo site", "lighthouses"), ("undo site", "bees")):
                    began = time.monotonic()
                    await exchange(person, said)
                    while shown not in (await asyncio.to_thread(visit, demo_box, found[0])).text:
                        await asyncio.sleep(0.02)
                    assert time.monotonic() - began < UNDO_LIMIT_S
                    await page.reload()
                    await expect(page.locator("body")).to_contain_text(shown)
                assert len((await exchange(person, "site history")).splitlines()) == 2
            finally:
                await browser.close()

    asyncio.run(scenario())
    assert not is_awake(demo_box, demo_box.tenant_that_said("make me a page about lighthouses"))


def test_nobodys_hostname_has_no_page(demo_box: RunningBox) -> None:
    response = visit(demo_box, f"http://nobody-at-all.localhost:{demo_box.port}/")
    assert response.status_code == 404
    assert "No site has been published at this address." in response.text


def test_where_people_come_back_to_is_ours_on_every_hostname(demo_box: RunningBox) -> None:
    for path in ("callback?code=a&state=", "start/"):
        response = visit(demo_box, f"http://nobody-at-all.localhost:{demo_box.port}/_/oauth/{path}{'a' * 43}")
        assert (response.status_code, "This link does not work" in response.text) == (404, True)


@pytest.fixture(scope="module")
def clock(demo_box: RunningBox) -> tuple[str, TenantId]:
    return site_of(demo_box, "serve a clock from my machine")


def test_a_page_is_served_by_the_machine(demo_box: RunningBox, clock: tuple[str, TenantId]) -> None:
    url, tenant_id = clock
    assert is_awake(demo_box, tenant_id)
    first, second = visit(demo_box, url), visit(demo_box, url)
    assert (first.status_code, second.status_code) == (200, 200)
    assert "clock" in first.text


def test_a_visit_wakes_the_machine_whose_server_goes_on(demo_box: RunningBox, clock: tuple[str, TenantId]) -> None:
    url, tenant_id = clock
    put_to_sleep(demo_box, tenant_id)
    began = time.monotonic()
    with watching_qemu(demo_box.home) as watch:
        response = visit(demo_box, url)
    assert time.monotonic() - began < VISIT_LIMIT_S
    assert len(watch.started) == 1
    assert is_awake(demo_box, tenant_id)
    assert response.status_code == 200
    assert "clock" in response.text


def test_a_visitor_waits_for_the_service_of_a_machine_that_was_lost(
    demo_box: RunningBox, clock: tuple[str, TenantId]
) -> None:
    url, tenant_id = clock
    (machine,) = [one for one in demo_box.use_host(lambda host: host.statuses()) if one.tenant_id == tenant_id]
    psutil.Process(machine.process_id).kill()
    wait_for(lambda: not is_awake(demo_box, tenant_id), "the machine that was killed is still on the list")
    response = visit(demo_box, url)
    assert is_awake(demo_box, tenant_id)
    assert response.status_code == 200
    assert "clock" in response.text


def test_the_way_into_a_machine_outlives_the_host_process(demo_box: RunningBox, clock: tuple[str, TenantId]) -> None:
    url, tenant_id = clock
    host = demo_box.children()["host"]
    host.kill()
    host.wait(10)

    def is_back() -> bool:
        now = demo_box.children().get("host")
        return now is not None and now.pid != host.pid and not is_awake(demo_box, tenant_id)

    wait_for(is_back, "the host was not started again")
    assert visit(demo_box, url).status_code == 200, "its service was started again"
    assert is_awake(demo_box, tenant_id), "and the visit has woken the machine"


def test_a_stranger_gets_a_page_and_follows_the_link(demo_box: RunningBox) -> None:
    wrong: list[str] = []

    async def scenario() -> None:
        async with asyncio.timeout(60), async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            try:
                page = await browser.new_page(viewport={"width": 390, "height": 800})
                page.on("pageerror", lambda error: wrong.append(str(error)))
                await page.goto(f"http://localhost:{demo_box.port}/")
                await page.get_by_label("Your message").fill("build me an invoice generator")
                await page.get_by_label("Your message").press("Enter")
                await expect(page.locator("#typing")).to_be_visible()
                link = page.locator(".message.agent a")
                await expect(link).to_have_attribute(
                    "href", re.compile(r"^http://[a-z0-9-]+\.localhost:\d+/$"), timeout=40_000
                )
                await expect(page.locator("#typing")).to_be_hidden()
                async with page.expect_popup() as popup:
                    await link.click()
                site = await popup.value
                site.on("pageerror", lambda error: wrong.append(str(error)))
                await expect(site).to_have_title("Invoice generator")
                await expect(site.get_by_role("heading").first).to_be_visible()
            finally:
                await browser.close()

    asyncio.run(scenario())
    assert wrong == []
