"""A stranger at a real box as it is by itself: one message, and there is an address that is live."""

import asyncio
import re

from tests.real.box.running import RunningBox, Somebody, exchange, running_box, state_folder, visit, write_agent_file

from subclaw.core.tenant import TenantId

SHOWN_S = 20


def test_a_hello_is_answered_with_a_live_address_and_a_request_with_a_live_page() -> None:
    with state_folder() as home:
        write_agent_file(home, "")
        with running_box(home) as box:
            asyncio.run(meet(box))
            asyncio.run(ask_at_once(box))


async def meet(box: RunningBox) -> None:
    async with Somebody().at(box) as person:
        asked = await exchange(person, "hello")
        first = re.findall(r"http://\S+", asked)[0]
        assert "site will be here" in visit(box, first).text
        assert await asyncio.to_thread(awake, box) == frozenset(), "a hello starts no machine"
        ada = re.findall(r"http://\S+", await exchange(person, "ada"))[0]
        assert ada.startswith("http://ada.")
        assert "site will be here" in visit(box, ada).text
        assert visit(box, first).headers["location"] == ada
        assert "live at http://ada." in await exchange(person, "make me a page about tea")
        await shows(box, ada, status=200)
        teapot = re.findall(r"http://\S+", await exchange(person, "name: teapot"))[0]
        await shows(box, teapot, status=200)
        await shows(box, ada, status=302)


async def ask_at_once(box: RunningBox) -> None:
    async with Somebody().at(box) as person:
        assert "live at" in await exchange(person, "make me a page about coffee")


def awake(box: RunningBox) -> frozenset[TenantId]:
    return frozenset(status.tenant_id for status in box.use_host(lambda host: host.statuses()))


async def shows(box: RunningBox, url: str, *, status: int) -> None:
    """Visit until the site itself is there, or its address leads on."""
    async with asyncio.timeout(SHOWN_S):
        while True:
            answer = await asyncio.to_thread(visit, box, url)
            if answer.status_code == status and "site will be here" not in answer.text:
                return
            await asyncio.sleep(0.05)
