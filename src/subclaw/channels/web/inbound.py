"""The web chat: a page, messages in by POST, and the conversation out as server-sent events.

The page is the operator's front page too: until somebody says something, it tells what this is and how to reach it.

A person is whoever holds the token in the cookie (see `web_person`). Nothing is stored before their first message.
"""

import asyncio
import base64
import json
import random
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from subclaw.channels.web.front import Front, kept_front
from subclaw.channels.web.person import is_token, new_token, set_token, token_of, web_address
from subclaw.channels.web.ways import Way, qr_codes
from subclaw.core.channel import Address, Attachment, InboundMessage, Intake
from subclaw.core.errors import Invalid, Unavailable
from subclaw.core.feed import ChatFeed, FeedItem, SaidByPerson, Typing
from subclaw.core.outgoing import link_path
from subclaw.pages.page import Assets, SecuredRoute, asset_response, load_assets, templates
from subclaw.pages.request import is_same_origin, media_type, read_body

_FOLDER = Path(__file__).parent / "page"
BODY_LIMIT_BYTES = 1_000_000

LARGE_LIMIT_BYTES = 8_000_000
LARGE_AT_ONCE = 4
LARGE_LIMIT_S = 60.0
"""A message with files may be so long in Base64; few are read at once, and none for longer."""

_RETRY_AFTER_S = 2
_RECONNECT_MS = (1_000, 3_000)
"""Browsers reconnect after a time drawn from this range, so that a restart does not bring all of them at once."""
_LARGEST_SEQ = 2**63 - 1

_SLOW_DOWN = "I can't take that just now. Your message is kept, and will be sent again in a moment."
_RELOAD = "I no longer know who you are. Please reload the page (and allow cookies for it)."


def web_router(
    *,
    intake: Intake,
    feed: ChatFeed,
    title: str,
    public_url: str,
    streams_limit: int = 2_000,
    front: Callable[[], Front] | None = None,
    ways: Sequence[Way] = (),
) -> APIRouter:
    """Return the routes of the web chat.

    `title` is the product's name on the page; `front` gives the words for those who are new, in which it may be
    another, and `ways` are the other channels that they are told of. `public_url` is where people reach it, without a
    path, and decides on the `Secure` flag; `streams_limit` bounds the event streams that are open at once (more are
    told to come back).
    The path `/c/<token>` holds a credential: whoever serves these routes writes no access log of it.
    """
    router = APIRouter(route_class=SecuredRoute, include_in_schema=False)
    public_url = public_url.rstrip("/")
    _add_page(router, front or kept_front(None, title), ways, public_url)
    _add_link(router, title, public_url)
    _add_messages(router, intake, public_url)
    _add_events(router, feed, public_url, streams_limit)
    return router


def _add_page(router: APIRouter, front: Callable[[], Front], ways: Sequence[Way], public_url: str) -> None:
    assets = load_assets(_FOLDER)
    render, codes = _page_renderer(assets), qr_codes(ways)

    @router.get("/")
    async def page(request: Request) -> Response:
        known, words = token_of(request.cookies, public_url), front()
        token = known or new_token()
        chat = web_address(token).address[:16]
        # Whoever is new has said nothing: they need no script to be told what this is.
        names = {"title": words.name, "front": words, "ways": ways, "codes": codes, "is_new": known is None}
        response = render("chat.html", chat=chat, **names)
        set_token(response, token, public_url)
        return response

    @router.get("/chat/qr/{name}.svg")
    async def qr(name: str) -> Response:
        if name not in codes:
            return Response(status_code=404)
        return Response(codes[name], media_type="image/svg+xml", headers={"Cache-Control": "public, max-age=3600"})

    @router.get("/chat/assets/{digest}/{name}")
    async def asset(digest: str, name: str) -> Response:
        return asset_response(assets, digest, name)

    @router.get("/favicon.ico")
    async def favicon() -> Response:
        return RedirectResponse(f"/chat/assets/{assets.digest}/favicon.svg", status_code=302)


def _page_renderer(assets: Assets) -> Callable[..., HTMLResponse]:
    environment, path = templates(_FOLDER), f"/chat/assets/{assets.digest}"

    def render(template: str, *, status: int = 200, **names: object) -> HTMLResponse:
        html = environment.get_template(template).render(base=path, **names)
        return HTMLResponse(html, status_code=status, headers={"Cache-Control": "private, no-cache"})

    return render


def _add_link(router: APIRouter, title: str, public_url: str) -> None:
    """Add "one link a person": the way from one browser to another."""
    render = _page_renderer(load_assets(_FOLDER))

    def follow(token: str) -> Response:
        response = RedirectResponse("/", status_code=303)
        set_token(response, token, public_url)
        return response

    @router.get("/c/{token}")
    async def open_link(request: Request, token: str) -> Response:
        if not is_token(token):
            return render("link.html", status=404, title=title, token=None)
        # A browser that holds another conversation would lose it for good, and any page can lead it here: ask first.
        if token_of(request.cookies, public_url) in (None, token):
            return follow(token)
        return render("link.html", title=title, token=token)

    @router.post("/c/{token}")
    async def confirm_link(request: Request, token: str) -> Response:
        if not is_token(token) or not is_same_origin(request.headers):
            return render("link.html", status=403, title=title, token=None)
        return follow(token)

    @router.post("/chat/link")
    async def link(request: Request) -> Response:
        token = token_of(request.cookies, public_url)
        if (refusal := _refusal(request)) is not None:
            return refusal
        if token is None:
            return _error(401, _RELOAD)
        return JSONResponse({"url": f"{public_url}/c/{token}"}, headers={"Cache-Control": "no-store"})


def _add_messages(router: APIRouter, intake: Intake, public_url: str) -> None:
    large = asyncio.Semaphore(LARGE_AT_ONCE)

    @router.post("/chat/messages")
    async def message(request: Request) -> Response:
        if (refusal := _refusal(request)) is not None:
            return refusal
        token = token_of(request.cookies, public_url)
        if token is None:
            return _error(401, _RELOAD)
        body = await _read_message(request, large)
        if body is None:
            return _error(413, "That is too long for one message. Please send it in parts.")
        try:
            received = parse_message(body, web_address(token), datetime.now(UTC))
            receipt = await intake.receive(received)
        except Invalid as error:
            return _error(422, error.public)
        except Unavailable:
            return _error(503, _SLOW_DOWN, retry_after_s=_RETRY_AFTER_S)
        return JSONResponse({"duplicate": receipt.duplicate}, status_code=202)


async def _read_message(request: Request, large: asyncio.Semaphore) -> bytes | None:
    """Return a message's body, or None if it is too long, or one with files that comes too slowly."""
    declared = request.headers.get("content-length", "")
    if not declared.isdecimal() or int(declared[:20]) <= BODY_LIMIT_BYTES:
        return await read_body(request, limit_bytes=BODY_LIMIT_BYTES)
    try:
        async with asyncio.timeout(LARGE_LIMIT_S), large:
            return await read_body(request, limit_bytes=LARGE_LIMIT_BYTES)
    except TimeoutError:
        return None


def parse_message(body: bytes, sender: Address, received_at: datetime) -> InboundMessage:
    """Parse `{"id": uuid, "text": text}`, with `"files": [{"name", "type", "content"}]` if there are any, in Base64.

    The id is made by the page, so it counts only together with the sender. Errors: `Invalid`.
    """
    try:
        parsed: Any = json.loads(body)
    except (ValueError, RecursionError):
        parsed = None
    match parsed:
        case {"id": str(message_id), "text": str(text), **rest} if rest.keys() <= {"files"}:
            return InboundMessage(
                sender=sender,
                provider_id=f"{sender.address}:{_parse_id(message_id)}",
                text=text,
                received_at=received_at,
                attachments=_parse_files(rest.get("files", [])),
            )
        case _:
            raise Invalid('That was not a message: it takes JSON {"id": a UUID, "text": what you say}.')


def _parse_files(given: Any) -> tuple[Attachment, ...]:
    files = []
    for one in given if isinstance(given, list) else [None]:
        match one:
            case {"name": str(name), "type": str(media_type), "content": str(encoded), **rest} if not rest:
                files.append(_file(name, media_type, encoded))
            case _:
                raise Invalid('Those were no files: each is {"name": …, "type": …, "content": Base64}.')
    return tuple(files)


def _file(name: str, media_type: str, encoded: str) -> Attachment:
    try:
        content = base64.b64decode(encoded, validate=True)
    except ValueError:
        raise Invalid("The content of a file is not Base64.") from None
    return Attachment(name=name, media_type=media_type, size_bytes=len(content), content=content)


def _parse_id(text: str) -> str:
    try:
        return str(uuid.UUID(text[:64]))
    except ValueError:
        raise Invalid("That message has no proper id: it takes a UUID.") from None


def _add_events(router: APIRouter, feed: ChatFeed, public_url: str, streams_limit: int) -> None:
    place = _places(streams_limit)

    async def followed(request: Request) -> AsyncIterator[AsyncGenerator[FeedItem, None]]:
        token = token_of(request.cookies, public_url)
        if token is None:
            raise HTTPException(401, _RELOAD)
        async with aclosing(feed.follow(web_address(token), resume_after(request))) as items:
            yield items

    # `place` comes first, so that a stream for which there is no place does not even begin to follow.
    @router.get("/chat/events", response_class=EventSourceResponse, dependencies=[Depends(place)])
    async def events(
        items: Annotated[AsyncGenerator[FeedItem, None], Depends(followed)],
    ) -> AsyncIterator[ServerSentEvent]:
        yield ServerSentEvent(retry=random.randint(*_RECONNECT_MS), comment="hello")
        try:
            async for item in items:
                yield encode_item(item)
        except Unavailable:
            return


def _places(limit: int) -> Callable[[], AsyncIterator[None]]:
    taken = 0

    async def place() -> AsyncIterator[None]:
        nonlocal taken
        if taken >= limit:
            raise HTTPException(503, "Too many pages are open.", headers={"Retry-After": str(_RETRY_AFTER_S)})
        taken += 1
        try:
            yield
        finally:
            taken -= 1

    return place


def resume_after(request: Request) -> int:
    """Return the `seq` after which a browser goes on: `Last-Event-ID` if it reconnects by itself, else `?after=`.

    What is no number counts as 0, the beginning: then the page gets too much rather than too little.
    """
    text = request.headers.get("last-event-id") or request.query_params.get("after", "")
    return min(int(text), _LARGEST_SEQ) if text.isascii() and text.isdecimal() and len(text) < 20 else 0


def encode_item(item: FeedItem) -> ServerSentEvent:
    """Return the event for a feed item. Its id is the `seq`; `Typing` has none and so leaves the last one in force."""
    if isinstance(item, Typing):
        return ServerSentEvent(event="typing", data={"on": item.on})
    said: dict[str, Any] = {"seq": item.seq, "text": item.text, "at": item.at.isoformat()}
    if isinstance(item, SaidByPerson):
        # The page knows the id that it made; whose address it is stays here.
        said["id"] = item.provider_id.rpartition(":")[2]
        return ServerSentEvent(event="person", data=said, id=str(item.seq))
    if item.files:
        said["files"] = [
            {"title": file.title, "url": link_path(file), "type": file.media_type, "size_bytes": file.size_bytes}
            for file in item.files
        ]
    return ServerSentEvent(event="agent", data=said, id=str(item.seq))


def _refusal(request: Request) -> Response | None:
    if not is_same_origin(request.headers):
        return _error(403, "That did not come from this chat's own page.")
    if media_type(request) != "application/json":
        return _error(415, "That was not JSON.")
    return None


def _error(status: int, words: str, *, retry_after_s: int | None = None) -> Response:
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    return JSONResponse({"error": words}, status_code=status, headers=headers)
