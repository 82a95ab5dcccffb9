"""The web chat's routes, asked without a browser."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx2
import pytest
from fastapi import FastAPI

from subclaw.channels.web.inbound import LARGE_LIMIT_BYTES, encode_item, web_router
from subclaw.channels.web.person import cookie_name, new_token, web_address
from subclaw.core.feed import Typing
from subclaw.pages.request import is_same_origin
from subclaw.testing.chat import MemoryChat

URL = "https://chat.example"
TOKEN = "t" * 43

MESSAGE_ID = "8dd211b0-82dc-4c7f-b09c-e9c3679a33cb"


def scenario(
    steps: Callable[[httpx2.AsyncClient, MemoryChat], Awaitable[None]],
    *,
    public_url: str = URL,
    token: str | None = TOKEN,
) -> None:
    async def run() -> None:
        chat = MemoryChat()
        app = FastAPI()
        app.include_router(web_router(intake=chat, feed=chat, title="subclaw", public_url=public_url))
        cookies = {cookie_name(public_url): token} if token else {}
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url=public_url, cookies=cookies) as client:
            await steps(client, chat)

    asyncio.run(run())


def message(text: str = "hello", message_id: str = "") -> dict[str, str]:
    return {"id": message_id or str(uuid.uuid4()), "text": text}


def test_the_page_makes_a_token_that_only_the_browser_holds_and_stores_nothing() -> None:
    async def steps(client: httpx2.AsyncClient, chat: MemoryChat) -> None:
        first = await client.get("/")
        cookie = first.headers["set-cookie"]
        token = client.cookies[cookie_name(URL)]
        assert len(token) == 43
        assert all(part in cookie for part in ("__Host-subclaw_web=", "HttpOnly", "SameSite=lax", "Secure", "Path=/"))
        assert token not in first.text
        again = await client.get("/")
        assert client.cookies[cookie_name(URL)] == token
        assert again.text.replace('id="greeting" hidden', 'id="greeting"') == first.text
        assert chat.received == []

    scenario(steps, token=None)


def test_without_https_the_cookie_works_without_secure() -> None:
    async def steps(client: httpx2.AsyncClient, chat: MemoryChat) -> None:
        cookie = (await client.get("/")).headers["set-cookie"]
        assert cookie.startswith("subclaw_web=")
        assert "Secure" not in cookie

    scenario(steps, public_url="http://localhost:8080", token=None)


def test_the_page_allows_no_foreign_code_and_no_frame() -> None:
    async def steps(client: httpx2.AsyncClient, chat: MemoryChat) -> None:
        page = await client.get("/")
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert page.headers["x-content-type-options"] == "nosniff"
        assert "://" not in page.text.replace("http://www.w3.org/2000/svg", "")
        assert "style=" not in page.text
        assert "<script>" not in page.text

    scenario(steps)


def test_every_file_that_the_page_names_is_there_and_kept_for_good() -> None:
    async def steps(client: httpx2.AsyncClient, chat: MemoryChat) -> None:
        page = (await client.get("/")).text
        paths = {part.split('"')[0] for part in page.replace('src="', 'href="').split('href="')[1:]}
        assert len(paths) >= 6
        for path in paths:
            answer = await client.get(path)
            assert answer.status_code == 200, path
            assert "immutable" in answer.headers["cache-control"]
        for path in ("/chat/assets/old/chat.js", f"{min(paths)}x", "/chat/assets/x/..%2fchat.html"):
            assert (await client.get(path)).status_code == 404

    scenario(steps)


def test_a_title_is_shown_as_text() -> None:
    app = FastAPI()
    chat = MemoryChat()
    app.include_router(web_router(intake=chat, feed=chat, title="<i>Acme & Co", public_url=URL))

    async def run() -> str:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=URL) as client:
            return (await client.get("/")).text

    page = asyncio.run(run())
    assert "<i>" not in page
    assert "<title>&lt;i&gt;Acme &amp; Co</title>" in page


def test_a_message_is_stored_once_however_often_it_is_posted() -> None:
    async def steps(client: httpx2.AsyncClient, chat: MemoryChat) -> None:
        sent = message("hi")
        answers = [await client.post("/chat/messages", json=sent) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [202, 202, 202]
        assert [answer.json()["duplicate"] for answer in answers] == [False, True, True]
        (received,) = chat.received
        assert received.sender == web_address(TOKEN)
        assert received.provider_id == f"{received.sender.address}:{sent['id']}"
        assert TOKEN not in repr(received)

    scenario(steps)


def test_one_persons_id_does_not_shadow_anothers() -> None:
    async def steps(client: httpx2.AsyncClient, chat: MemoryChat) -> None:
        sent = message("hi")
        for token in ("a" * 43, "b" * 43):
            client.cookies.set(cookie_name(URL), token)
            answer = await client.post("/chat/messages", json=sent)
            assert answer.json() == {"duplicate": False}
            client.cookies.clear()
        assert len({received.sender for received in chat.received}) == 2

    scenario(steps, token=None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff",
        b"[" * 100_000,
        json.dumps({"id": "x", "text": "hi"}).encode(),
        json.dumps({"id": MESSAGE_ID}).encode(),
        json.dumps({"id": MESSAGE_ID, "text": 5}).encode(),
        json.dumps({"id": MESSAGE_ID, "text": "hi", "more": 1}).encode(),
        json.dumps({"id": MESSAGE_ID, "text": " \n\x00 "}).encode(),
        json.dumps({"id": MESSAGE_ID, "text": "x" * 250_000}).encode(),
    ],
)
def test_what_is_no_message_is_refused_in_words(body: bytes) -> None:
    async def steps(client: httpx2.AsyncClient, chat: MemoryChat) -> None:
        answer = await client.post("/chat/messages", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 422
        assert answer.json()["error"].endswith((".", ")"))
        assert chat.received == []

    scenario(steps)


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_beyond_bounds_is_refused_in_words(declared: bool) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 100_000

    async def steps(client: httpx2.AsyncClient, chat: MemoryChat) -> None:
        content = b"x" * (LARGE_LIMIT_BYTES + 1) if declared else endless()
        answer = await client.post("/chat/messages", content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 413
        assert "too long" in answer.json()["error"]

    scenario(steps)


def test_an_intake_that_is_down_is_asked_for_later() -> None:
    async def steps(client: httpx2.AsyncClient, chat: MemoryChat) -> None:
        chat.available = False
        answer = await client.post("/chat/messages", json=message())
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) > 0
        assert answer.json()["error"]

    scenario(steps)


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"origin": "https://bob.chat.example"},
        {"origin": "null"},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
    ],
)
@pytest.mark.parametrize("path", ["/chat/messages", "/chat/link"])
def test_no_other_page_can_speak_for_a_person(path: str, headers: dict[str, str]) -> None:
    async def steps(client: httpx2.AsyncClient, chat: MemoryChat) -> None:
        sent = {"content-type": "application/json"} | headers
        answer = await client.post(path, content=json.dumps(message()).encode(), headers=sent)
        assert answer.status_code in (403, 415)
        assert chat.received == []

    scenario(steps)


def test_without_a_cookie_nobody_speaks_and_nobody_listens() -> None:
    async def steps(client: httpx2.AsyncClient, chat: MemoryChat) -> None:
        for token in (None, "short", "é" * 43):
            headers = {} if token is None else {b"cookie": f"{cookie_name(URL)}={token}".encode()}
            assert (await client.post("/chat/messages", json=message(), headers=headers)).status_code == 401
            assert (await client.post("/chat/link", json={}, headers=headers)).status_code == 401
            assert (await client.get("/chat/events", headers=headers)).status_code == 401
        assert chat.received == []

    scenario(steps, token=None)


def test_the_link_leads_a_fresh_browser_into_the_conversation() -> None:
    async def steps(client: httpx2.AsyncClient, chat: MemoryChat) -> None:
        answer = await client.post("/chat/link", json={})
        assert answer.json() == {"url": f"{URL}/c/{TOKEN}"}
        assert answer.headers["cache-control"] == "no-store"
        client.cookies.clear()
        followed = await client.get(f"/c/{TOKEN}")
        assert (followed.status_code, followed.headers["location"]) == (303, "/")
        assert client.cookies[cookie_name(URL)] == TOKEN

    scenario(steps)


def test_a_browser_in_another_conversation_is_asked_before_it_leaves_it() -> None:
    async def steps(client: httpx2.AsyncClient, chat: MemoryChat) -> None:
        other = new_token()
        asked = await client.get(f"/c/{other}")
        assert asked.status_code == 200
        assert "set-cookie" not in asked.headers
        foreign = await client.post(f"/c/{other}", headers={"sec-fetch-site": "cross-site"})
        assert foreign.status_code == 403
        assert "set-cookie" not in foreign.headers
        moved = await client.post(f"/c/{other}", headers={"sec-fetch-site": "same-origin"})
        assert moved.status_code == 303
        assert other in moved.headers["set-cookie"]

    scenario(steps)


@pytest.mark.parametrize("token", ["x", "t" * 44, "t" * 42 + "!", "%3Cscript%3E"])
def test_a_link_that_was_cut_says_so(token: str) -> None:
    async def steps(client: httpx2.AsyncClient, chat: MemoryChat) -> None:
        answer = await client.get(f"/c/{token}")
        assert answer.status_code == 404
        assert "set-cookie" not in answer.headers
        assert "<script>" not in answer.text

    scenario(steps)


def test_same_origin_by_host_where_the_browser_sends_no_fetch_metadata() -> None:
    assert is_same_origin({"origin": "http://box.lan:8080", "host": "box.lan:8080"})
    assert not is_same_origin({"origin": "http://box.lan", "host": "box.lan:8080"})
    assert is_same_origin({"host": "box.lan"})


def test_typing_has_no_id_so_that_a_browser_resumes_after_the_last_message() -> None:
    assert encode_item(Typing(on=True)).id is None
