"""A key that somebody sends is nowhere in a box; once it is handed over by its link, commands have its placeholder."""

import asyncio
import re
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
from tests.real.box.conftest import ScriptedBox
from tests.real.box.memory import files_with, memory_has
from tests.real.box.running import RunningBox, Somebody, exchange, next_reply, visit

from subclaw.core.access_words import removed_words, set_words
from subclaw.core.secret import Binding
from subclaw.testing.openai import Words, call

VALUE = "ghp_" + uuid4().hex + "0aZ9"
REMOVED = f"use [a GitHub token was removed]\n{removed_words(['a GitHub token'])}"
SET = set_words("GITHUB_TOKEN", Binding(hosts=("api.github.com",)))


def post(box: RunningBox, url: str, fields: dict[str, str]) -> httpx2.Response:
    parts = urlsplit(url)
    with httpx2.Client(trust_env=False, timeout=30) as client:
        return client.post(f"{box.url}{parts.path}", headers={"Host": parts.netloc, "Origin": "null"}, data=fields)


def test_a_key_that_is_sent_and_handed_over_is_nowhere_in_the_clear(scripted_box: ScriptedBox) -> None:
    box, model = scripted_box.box, scripted_box.model
    model.play(REMOVED, Words(text="I wait for the link to be used."))
    play = model.play(SET, call("shell_exec", command="printenv GITHUB_TOKEN"), Words(text="I have it."))

    async def scenario() -> str:
        async with Somebody().at(box) as person:
            notice = await exchange(person, f"use {VALUE}")
            assert await next_reply(person) == "I wait for the link to be used."
            (link,) = re.findall(r"http\S+/secret/\S{43}$", notice)
            page = await asyncio.to_thread(visit, box, link)
            assert "Hand over a GitHub token" in page.text
            fields = {"name": "GITHUB_TOKEN", "hosts": "api.github.com", "place": "header", "field": "", "value": VALUE}
            done = await asyncio.to_thread(post, box, link, fields)
            assert (done.status_code, "GITHUB_TOKEN is sealed" in done.text) == (200, True)
            assert await next_reply(person) == "I have it."
            assert (await asyncio.to_thread(visit, box, link)).status_code == 410
            return str(link)

    link = asyncio.run(scenario())
    (placeholder,) = play.told()
    assert placeholder.startswith("ghp_subclaw")
    assert files_with(box.home, placeholder.encode()) != [], "the search finds what is there"
    assert files_with(box.home, VALUE.encode()) == []
    assert not any(VALUE.encode() in body for body in model.bodies)
    said = box.said.read_text()
    assert VALUE not in said
    assert urlsplit(link).path not in said
    assert not memory_has(box.children()["worker"], VALUE.encode())
