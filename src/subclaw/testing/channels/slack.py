"""A Slack of our own on loopback: its Web API, its files, and events that are delivered as often as Slack does.

It is strict where the real one is: tokens, places that the bot is not in, texts that are too long. It misbehaves on
demand: it asks to slow down, fails or falls silent before or after it took a message. Slack gives an event up after the
third try; so does this.
Source: https://docs.slack.dev/reference/methods, https://docs.slack.dev/apis/events-api.
"""

import asyncio
import itertools
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from html import escape
from types import MappingProxyType
from typing import Any

import aiohttp
from aiohttp import web
from slack_sdk.signature import SignatureVerifier

from subclaw.testing.channels.lost_answers import LOST_ANSWERS, LostAnswer, lose_answer
from subclaw.testing.channels.provider import FakeProvider, keep, on_loopback, wait_until

TEXT_LIMIT = 40_000
MARKDOWN_LIMIT = 12_000
FILE_LIMIT_BYTES = 20 * 1024 * 1024
EVENT_LIMIT_S = 3.0
BOT = "U0BOT"
PERSON = "U0ANN"
TEAM = "T0HOME"
APP = "A0AGENTS"
SCOPES = "chat:write,app_mentions:read,im:history,mpim:history,channels:history,groups:history,files:read,files:write"


class Behaviour(StrEnum):
    """How the fake answers one call of a method."""

    ACCEPT = "accept"
    SLOW_DOWN = "slow down"
    FAIL = "fail"
    FAIL_TAKEN = LostAnswer.FAIL
    FATAL_TAKEN = "fatal, taken"
    """Take the message, and answer with an error that leaves open what was done."""
    HANG_TAKEN = LostAnswer.HANG
    DROP = LostAnswer.DROP
    BABBLE = LostAnswer.BABBLE
    NO_LAYOUT = "no layout"
    """What the Markdown becomes is too long."""


@dataclass(frozen=True, kw_only=True)
class TakenMessage:
    """A message that the fake took. `ts` is its name; `thread` that of the thread, or empty."""

    ts: str
    place: str
    text: str
    formatted: bool
    thread: str
    sent: Mapping[str, Any]
    file: "TakenFile | None" = None


@dataclass(kw_only=True)
class TakenFile:
    """A file that somebody asked to upload; it has its content once it is uploaded, its title once it is shown."""

    id: str
    name: str
    size_bytes: int
    title: str = ""
    content: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """One delivery of an event: which retry it was (0 is the first try), and the status that it was answered with.

    The status is 0 where there was no answer in time.
    """

    retry: int
    status: int
    text: str


@dataclass(kw_only=True)
class FakeSlack(FakeProvider):
    """The state of the fake.

    `behaviours` are by method, for the calls that are to come, one each; after that it accepts. `errors` are by place:
    what messages to it are answered with. `files` are by the path that their address has, `uploads` by their ids; what
    is asked for one is answered with `upload_error`, if there is one. Events are posted to
    `events_to`, again after each of `again_s` if they were not taken.
    """

    token: str
    signing_secret: str
    team: str = TEAM
    scopes: str = SCOPES
    behaviours: dict[str, deque[Behaviour]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    retry_after_s: int = 1
    messages: list[TakenMessage] = field(default_factory=list)
    statuses: list[tuple[str, str, str]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, TakenFile] = field(default_factory=dict)
    upload_error: str = ""
    upload_statuses: deque[int] = field(default_factory=deque)
    calls: list[str] = field(default_factory=list)
    events_to: str = ""
    again_s: tuple[float, ...] = (0.0, 0.05, 0.2)
    deliveries: list[Delivered] = field(default_factory=list)
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))


Arguments = Mapping[str, Any]
Method = Callable[[FakeSlack, Arguments], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def fake_slack(*, token: str, signing_secret: str, port: int = 0) -> AsyncIterator[FakeSlack]:
    """Serve the fake on a port of loopback: methods under `/api`, files under `/files-pri`, `/upload`."""
    fake = FakeSlack(token=token, signing_secret=signing_secret)
    app = web.Application(client_max_size=FILE_LIMIT_BYTES)
    app.router.add_route("*", "/api/{method}", partial(_call, fake))
    app.router.add_get("/files-pri/{path:.+}", partial(_file, fake))
    app.router.add_post("/upload/v1/{file}", partial(_upload, fake))
    async with on_loopback(fake, app, port=port) as origin:
        fake.base_url = origin
        yield fake


def behave(fake: FakeSlack, *behaviours: Behaviour, method: str = "chat.postMessage") -> None:
    """Have the next calls of a method answered so."""
    fake.behaviours.setdefault(method, deque()).extend(behaviours)


async def until(fake: FakeSlack, count: int) -> list[str]:
    """Wait until so many messages are taken; return their texts."""
    await wait_until(fake, lambda: len(fake.messages) >= count)
    return [message.text for message in fake.messages]


def written(
    fake: FakeSlack, text: str, *, place: str = "D0ANN", user: str = PERSON, kind: str = "message", **more: Any
) -> dict[str, Any]:
    """Return the event for what a person wrote. `more` overrides or adds fields of the message."""
    number = next(fake.numbers)
    channel_type = {"D": "im", "G": "mpim"}.get(place[0], "channel")
    event = {
        "type": kind,
        "user": user,
        "text": text,
        "ts": f"1790000000.{number:06d}",
        "client_msg_id": f"00000000-0000-4000-8000-{number:012d}",
        "team": fake.team,
        "channel": place,
        "event_ts": f"1790000000.{number:06d}",
        "channel_type": channel_type,
    }
    return envelope(fake, event | more)


def envelope(fake: FakeSlack, event: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Return what Slack posts for an event. `more` overrides or adds fields of it."""
    return {
        "token": "a verification token of the old kind",
        "team_id": fake.team,
        "api_app_id": APP,
        "event": dict(event),
        "type": "event_callback",
        "event_id": f"Ev{next(fake.numbers):09d}",
        "event_time": int(time.time()),
        "authorizations": [
            {
                "enterprise_id": None,
                "team_id": fake.team,
                "user_id": BOT,
                "is_bot": True,
                "is_enterprise_install": False,
            }
        ],
        "is_ext_shared_channel": False,
        "event_context": "4-eyJldCI6Im1lc3NhZ2UifQ",
    } | more


async def say(fake: FakeSlack, told: Mapping[str, Any], *, deliveries: int = 1) -> bool:
    """Deliver an event as Slack does: at once, and up to three times again; return whether it was taken.

    With several `deliveries` it is delivered so often although it was taken.
    """
    body, taken, retry, reason = json.dumps(told).encode(), False, 0, ""
    for pause_s in (0.0, *fake.again_s):
        await asyncio.sleep(pause_s)
        headers = {"X-Slack-Retry-Num": str(retry), "X-Slack-Retry-Reason": reason} if retry else {}
        answer = await post(fake, body, headers)
        deliveries -= answer.status // 100 == 2
        taken = taken or answer.status // 100 == 2
        if deliveries <= 0 or answer.text == "no retry":
            break
        retry, reason = retry + 1, "http_error" if answer.status else "http_timeout"
    return taken


async def post(
    fake: FakeSlack, body: bytes, headers: Mapping[str, str] = MappingProxyType({}), *, signed_at: float | None = None
) -> Delivered:
    """Post a signed body once, as it stands. `headers` override or add some; an empty one is left out."""
    timestamp = str(int(time.time() if signed_at is None else signed_at))
    signature = SignatureVerifier(fake.signing_secret).generate_signature(timestamp=timestamp, body=body)
    sent = {
        "Content-Type": "application/json",
        "User-Agent": "Slackbot 1.0 (+https://api.slack.com/robots)",
        "X-Slack-Request-Timestamp": timestamp,
        "X-Slack-Signature": signature or "",
    } | dict(headers)
    retry = int(headers.get("X-Slack-Retry-Num", "0"))
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=EVENT_LIMIT_S)) as session,
            session.post(fake.events_to, data=body, headers={k: v for k, v in sent.items() if v}) as response,
        ):
            text = "no retry" if response.headers.get("X-Slack-No-Retry") == "1" else await response.text()
            delivered = Delivered(retry=retry, status=response.status, text=text)
    except (aiohttp.ClientError, TimeoutError):
        delivered = Delivered(retry=retry, status=0, text="")
    fake.deliveries.append(delivered)
    return delivered


async def _call(fake: FakeSlack, request: web.Request) -> web.StreamResponse:
    method = request.match_info["method"]
    fake.calls.append(method)
    if request.headers.get("Authorization") != f"Bearer {fake.token}":
        return _error("invalid_auth")
    if method not in _METHODS:
        return _error("unknown_method")
    given = await request.json() if request.content_type == "application/json" else dict(await request.post())
    waiting = fake.behaviours.get(method)
    behaviour = waiting.popleft() if waiting else Behaviour.ACCEPT
    match behaviour:
        case Behaviour.SLOW_DOWN:
            headers = {"Retry-After": str(fake.retry_after_s)}
            return web.json_response({"ok": False, "error": "ratelimited"}, status=429, headers=headers)
        case Behaviour.FAIL:
            return web.Response(status=503, text="upstream connect error", content_type="text/html")
        case Behaviour.NO_LAYOUT:
            return _error("msg_blocks_too_long")
    answer = await _METHODS[method](fake, {**request.query, **given})
    if behaviour is Behaviour.FATAL_TAKEN:
        return _error("fatal_error")
    if behaviour in LOST_ANSWERS:
        failure = web.Response(status=503, text="<html>", content_type="text/html")
        return await lose_answer(fake, request, behaviour, failure)
    return answer


async def _auth_test(fake: FakeSlack, given: Arguments) -> web.StreamResponse:
    about = {"url": "https://home.slack.com/", "team": "Home", "user": "agents", "team_id": fake.team}
    headers = {"X-OAuth-Scopes": fake.scopes}
    return web.json_response({"ok": True, **about, "user_id": BOT, "bot_id": "B0BOT"}, headers=headers)


async def _post_message(fake: FakeSlack, given: Arguments) -> web.StreamResponse:
    place, text, markdown = str(given.get("channel", "")), given.get("text", ""), given.get("markdown_text", "")
    if place in fake.errors:
        return _error(fake.errors[place])
    if place[:1] not in {"C", "D", "G"}:
        return _error("channel_not_found")
    if text and markdown:
        return _error("markdown_text_conflict")
    if not (text or markdown).strip():
        return _error("no_text")
    if len(markdown) > MARKDOWN_LIMIT or len(text) > TEXT_LIMIT:
        return _error("msg_too_long")
    ts = f"{int(time.time())}.{next(fake.numbers):06d}"
    message = TakenMessage(
        ts=ts,
        place=place,
        text=text or markdown,
        formatted=bool(markdown),
        thread=str(given.get("thread_ts") or ""),
        sent=given,
    )
    await keep(fake, fake.messages, message)
    return web.json_response({"ok": True, "channel": place, "ts": ts, "message": _listed(message, metadata=False)})


async def _get_upload_url(fake: FakeSlack, given: Arguments) -> web.StreamResponse:
    if fake.upload_error:
        return _error(fake.upload_error)
    file = TakenFile(id=f"F{next(fake.numbers):09d}", name=given["filename"], size_bytes=int(given["length"]))
    fake.uploads[file.id] = file
    url = f"https://files.slack.example/upload/v1/{file.id}"
    return web.json_response({"ok": True, "upload_url": url, "file_id": file.id})


async def _upload(fake: FakeSlack, request: web.Request) -> web.StreamResponse:
    """Take a file's content from whoever has its address; the real one wants no token either."""
    file, content = fake.uploads.get(request.match_info["file"]), await request.read()
    if fake.upload_statuses:
        return web.Response(status=fake.upload_statuses.popleft())
    if file is None or "Authorization" in request.headers or len(content) != file.size_bytes:
        return web.Response(status=400)
    file.content = content
    return web.Response(text=f"OK - {len(content)}")


async def _complete_upload(fake: FakeSlack, given: Arguments) -> web.StreamResponse:
    place, (asked,) = str(given["channel_id"]), json.loads(given["files"])
    file = fake.uploads.get(asked["id"])
    if place in fake.errors:
        return _error(fake.errors[place])
    if file is None or file.content is None:
        return _error("file_not_found")
    file.title = asked["title"]
    ts, thread = f"{int(time.time())}.{next(fake.numbers):06d}", str(given.get("thread_ts") or "")
    message = TakenMessage(ts=ts, place=place, text="", formatted=False, thread=thread, sent=given, file=file)
    await keep(fake, fake.messages, message)
    return web.json_response({"ok": True, "files": [{"id": file.id, "title": file.title}]})


async def _history(fake: FakeSlack, given: Arguments) -> web.StreamResponse:
    found = [one for one in fake.messages if one.place == given["channel"] and not one.thread]
    return _page(list(reversed(found)), given)


async def _replies(fake: FakeSlack, given: Arguments) -> web.StreamResponse:
    return _page([one for one in fake.messages if (one.place, one.thread) == (given["channel"], given["ts"])], given)


def _page(found: list[TakenMessage], given: Arguments) -> web.StreamResponse:
    recent = [one for one in found if float(one.ts) > float(given.get("oldest", 0))]
    begin, size = int(given.get("cursor") or 0), int(given.get("limit", 100))
    shown, rest = recent[begin : begin + size], recent[begin + size :]
    metadata = given.get("include_all_metadata") == "1"
    body = {"ok": True, "messages": [_listed(one, metadata=metadata) for one in shown], "has_more": bool(rest)}
    return web.json_response(body | {"response_metadata": {"next_cursor": str(begin + size) if rest else ""}})


def _listed(message: TakenMessage, *, metadata: bool) -> dict[str, Any]:
    listed: dict[str, Any] = {"type": "message", "user": BOT, "bot_id": "B0BOT", "text": message.text, "ts": message.ts}
    if message.thread:
        listed["thread_ts"] = message.thread
    if file := message.file:
        about = {"id": file.id, "name": file.name, "title": escape(file.title), "size": file.size_bytes, "user": BOT}
        listed |= {"files": [about]}
    return listed | ({"metadata": message.sent["metadata"]} if metadata and message.sent.get("metadata") else {})


async def _set_status(fake: FakeSlack, given: Arguments) -> web.StreamResponse:
    if not given.get("thread_ts"):
        return _error("invalid_thread_ts")
    await keep(fake, fake.statuses, (given["channel_id"], given["thread_ts"], given["status"]))
    return web.json_response({"ok": True})


async def _file(fake: FakeSlack, request: web.Request) -> web.StreamResponse:
    if request.headers.get("Authorization") != f"Bearer {fake.token}":
        return web.Response(text="<!DOCTYPE html><title>Sign in</title>", content_type="text/html")
    if request.path not in fake.files:
        return web.Response(status=404)
    return web.Response(body=fake.files[request.path], headers={"Content-Disposition": "attachment"})


_METHODS: Mapping[str, Method] = {
    "auth.test": _auth_test,
    "chat.postMessage": _post_message,
    "files.getUploadURLExternal": _get_upload_url,
    "files.completeUploadExternal": _complete_upload,
    "conversations.history": _history,
    "conversations.replies": _replies,
    "assistant.threads.setStatus": _set_status,
}


def _error(code: str) -> web.Response:
    return web.json_response({"ok": False, "error": code})
