"""What a person may write into the web chat of a real box, and what that costs."""

import asyncio
import json
import socket
from uuid import uuid4

import httpx2
import pytest
from tests.real.box.running import RunningBox, Somebody, ask, exchange, next_reply
from tests.real.box.watch import watching_qemu

from subclaw.core.errors import Invalid
from subclaw.core.message import TEXT_LIMIT_CHARACTERS
from subclaw.home import Home

GREETING = "scripted stand-in"


def test_hello_starts_no_machine_and_a_wish_for_a_page_does(demo_box: RunningBox) -> None:
    hello = f"hello {uuid4()}"

    async def scenario() -> None:
        async with Somebody().at(demo_box) as person:
            with watching_qemu(demo_box.home) as watch:
                assert GREETING in await exchange(person, hello)
            assert watch.looks >= 1
            assert watch.started == set()
            with watching_qemu(demo_box.home) as watch:
                assert "live at" in await exchange(person, "make me a page about tea")
            assert len(watch.started) == 1, "the watch sees a machine when there is one"

    asyncio.run(scenario())
    assert "tool.started" not in [kind for kind, _ in demo_box.turn(hello)]


def test_somebody_who_only_said_hello_has_no_disk_and_no_machine(demo_box: RunningBox) -> None:
    hello = f"hello {uuid4()}"
    ask(demo_box, hello)
    tenant_id = demo_box.tenant_that_said(hello)
    assert not (demo_box.home / "machines" / str(tenant_id)).exists()
    statuses = demo_box.use_host(lambda host: host.statuses())
    assert tenant_id not in {status.tenant_id for status in statuses}


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("hello 👩‍👩‍👧‍👦🏳️‍🌈🎉", None),
        ("שלום עולם, مرحبا hello", None),
        ("\u202ehello \u202dthere", None),
        ("hello\x07\x1b[31m\x00 there\x85", "hello[31m there"),
        ("hello\r\n\tthere", "hello\n\tthere"),
        ("hello " + "x" * (TEXT_LIMIT_CHARACTERS - 6), None),
    ],
    ids=["emoji", "right to left", "override", "controls and NUL", "lines", "longest"],
)
def test_odd_text_is_stored_as_it_was_meant_and_answered(demo_box: RunningBox, text: str, stored: str | None) -> None:
    async def scenario() -> None:
        async with Somebody().at(demo_box) as person:
            await person.say(text)
            async with asyncio.timeout(30):
                said = await anext(person.listen())
            assert (said.by, said.text) == ("person", text if stored is None else stored)
            assert GREETING in await next_reply(person)

    asyncio.run(scenario())


def test_half_a_character_is_answered(demo_box: RunningBox) -> None:
    async def scenario() -> None:
        async with (
            Somebody().at(demo_box) as person,
            httpx2.AsyncClient(cookies=person.cookies, trust_env=False) as client,
        ):
            body = json.dumps({"id": str(uuid4()), "text": "hello \ud83d there"})
            headers = {"Content-Type": "application/json"}
            response = await client.post(f"{demo_box.url}/chat/messages", content=body, headers=headers)
            assert response.status_code == 202
            assert GREETING in await next_reply(person)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "That message was empty. Tell me in a sentence what you would like."),
        (" \n\t ", "That message was empty. Tell me in a sentence what you would like."),
        ("\x00\x01", "That message was empty. Tell me in a sentence what you would like."),
        ("x" * 300_000, "That message has 300,000 characters, and I can take 200,000. Please send it in parts."),
        ("🎉" * 2_000_000, "That is too long for one message. Please send it in parts."),
    ],
    ids=["empty", "space", "only controls", "300 kB", "8 MB"],
)
def test_what_cannot_be_taken_is_refused_in_words_and_not_stored(demo_box: RunningBox, text: str, words: str) -> None:
    def stored() -> tuple[int, int]:
        ((messages, tenants),) = demo_box.rows("SELECT (SELECT count(*) FROM inbox), (SELECT count(*) FROM tenant)")
        return messages, tenants

    async def scenario() -> None:
        async with Somebody().at(demo_box) as person:
            with pytest.raises(Invalid) as refused:
                await person.say(text)
            assert refused.value.public == words

    before = stored()
    asyncio.run(scenario())
    assert stored() == before


def test_a_client_that_goes_away_in_the_middle_is_no_fault_of_ours(demo_box: RunningBox) -> None:
    home = Home(demo_box.home)
    head = b"POST /chat/messages HTTP/1.1\r\nHost: localhost\r\nCookie: subclaw_web=%s\r\n" % (b"x" * 43)
    head += b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    for _ in range(5):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(home.web_socket))
            client.sendall(head)
    assert httpx2.get(f"{demo_box.url}/healthz", trust_env=False).status_code == 200
    logged = (home.logs / "web.log").read_text()
    assert "Traceback" not in logged
    assert "ClientDisconnect" not in logged
