"""A Discord of our own on loopback: the REST API, the Gateway with its sessions, and files.

It is strict where the real one is: the token, limits of length and of pace, nonces, intents, what a session may resume.
It misbehaves on demand: it refuses, asks to slow down, fails or falls silent before or after it took a message.
Source: https://discord.com/developers/docs/reference, https://discord.com/developers/docs/events/gateway.
"""

import asyncio
import itertools
import json
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from subclaw.testing.channels.lost_answers import LOST_ANSWERS, LostAnswer, lose_answer
from subclaw.testing.channels.provider import FakeProvider, keep, on_loopback, wait_until

TEXT_LIMIT = 2000
BODY_LIMIT_BYTES = 10 * 1024 * 1024
NONCE_LIMIT = 25
PRIVILEGED_INTENTS = 1 << 1 | 1 << 8 | 1 << 15
EPOCH_MS = 1_420_070_400_000
PRIVATE, TEXT, THREAD = 1, 0, 11


class Behaviour(StrEnum):
    """How the fake answers one request to send."""

    ACCEPT = "accept"
    SLOW_DOWN = "slow down"
    NO_PRIVATE = "no private messages"
    NO_ACCESS = "no access"
    NO_PERMISSION = "no permission"
    NO_CHANNEL = "no channel"
    NO_FILE = "no such file"
    FAIL = "fail"
    FAIL_TAKEN = LostAnswer.FAIL
    HANG_TAKEN = LostAnswer.HANG
    DROP = LostAnswer.DROP
    BABBLE = LostAnswer.BABBLE


_ERRORS = {
    Behaviour.NO_PRIVATE: (403, 50007, "Cannot send messages to this user"),
    Behaviour.NO_ACCESS: (403, 50001, "Missing Access"),
    Behaviour.NO_PERMISSION: (403, 50013, "Missing Permissions"),
    Behaviour.NO_CHANNEL: (404, 10003, "Unknown Channel"),
    Behaviour.NO_FILE: (400, 20009, "Explicit content cannot be sent to the desired recipient(s)"),
    Behaviour.FAIL: (500, 0, "500: Internal Server Error"),
}


@dataclass(kw_only=True)
class Session:
    """A session of the Gateway: what it was told, and the connection that it has, if it has one."""

    id: str
    told: list[dict[str, Any]] = field(default_factory=list)
    socket: web.WebSocketResponse | None = None


@dataclass(kw_only=True)
class FakeDiscord(FakeProvider):
    """The state of the fake.

    `behaviours` holds for the messages that are to come, one each; after that it accepts. `channels` are by their id,
    `said` is what was said in each of them by anybody, and `sent` what the bot said. In a channel `pace` messages may
    be sent in `window_s`. `identified` and `resumed` are what the bot said of itself. `files` are by their path.
    """

    token: str
    bot_id: int = 900_000_000_000_000_001
    application_id: int = 900_000_000_000_000_002
    guild_id: int = 800_000_000_000_000_001
    gateway_url: str = ""
    files_url: str = ""
    behaviours: deque[Behaviour] = field(default_factory=deque)
    retry_after_s: float = 0.5
    pace: int = 5
    window_s: float = 0.2
    beat_ms: int = 41_250
    sessions_left: int = 1_000
    channels: dict[int, dict[str, Any]] = field(default_factory=dict)
    said: defaultdict[int, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    sent: list[dict[str, Any]] = field(default_factory=list)
    typed: list[int] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    refused_for_pace: int = 0
    times: defaultdict[int, deque[float]] = field(default_factory=lambda: defaultdict(deque))
    sessions: dict[str, Session] = field(default_factory=dict)
    connections: dict[web.WebSocketResponse, web.Request] = field(default_factory=dict)
    identified: list[dict[str, Any]] = field(default_factory=list)
    resumed: list[dict[str, Any]] = field(default_factory=list)
    beats: int = 0
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))


Route = Callable[[FakeDiscord, web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def fake_discord(
    *, token: str = "", port: int = 0, again: FakeDiscord | None = None
) -> AsyncIterator[FakeDiscord]:
    """Serve the fake on a port of loopback; `again` is one that was served before, and goes on as it was."""
    fake = again or FakeDiscord(token=token)
    fake.stopped = asyncio.Event()
    app = web.Application(client_max_size=2 * BODY_LIMIT_BYTES)
    for (method, path), route in _ROUTES.items():
        app.router.add_route(method, f"/api/v10{path}", partial(_call, fake, route))
    app.router.add_get("/gateway/", partial(_gateway, fake))
    app.router.add_get("/{kind:(ephemeral-)?attachments}/{path:.+}", partial(_file, fake))
    async with on_loopback(fake, app, port=port) as origin:
        fake.base_url, fake.gateway_url, fake.files_url = f"{origin}/api/v10", f"{origin}/gateway", origin
        try:
            yield fake
        finally:
            await hang_up(fake)


def private(fake: FakeDiscord, channel_id: int = 1001, person: str = "ann") -> dict[str, Any]:
    """Return the channel of a person with the bot."""
    recipient = {**_user(channel_id + 1, person), "bot": False}
    channel = {"id": str(channel_id), "type": PRIVATE, "recipients": [recipient], "last_message_id": None}
    return fake.channels.setdefault(channel_id, channel)


def public(fake: FakeDiscord, channel_id: int = 2001, *, parent_id: int | None = None) -> dict[str, Any]:
    """Return a channel of the server, or a thread in one. Before the bot connects, so that it is told of it."""
    channel: dict[str, Any] = {"id": str(channel_id), "type": TEXT, "guild_id": str(fake.guild_id), "name": "general"}
    if parent_id is None:
        channel |= {"position": 0, "permission_overwrites": [], "parent_id": None, "nsfw": False, "topic": None}
    else:
        metadata = {"archived": False, "auto_archive_duration": 60, "archive_timestamp": _now(), "locked": False}
        channel |= {"type": THREAD, "parent_id": str(parent_id), "owner_id": "1", "thread_metadata": metadata}
        channel |= {"message_count": 1, "member_count": 1, "rate_limit_per_user": 0, "last_message_id": None}
    return fake.channels.setdefault(channel_id, channel)


def written(fake: FakeDiscord, text: str = "", *, channel_id: int = 1001, **more: Any) -> dict[str, Any]:
    """Return the message that a person wrote, which is in its channel from now on. `more` overrides or adds fields.

    Whoever is named by `<@…>` is among its mentions.
    """
    channel = fake.channels.get(channel_id) or private(fake, channel_id)
    author = channel["recipients"][0] if channel["type"] == PRIVATE else _user(7001, "ben", "Ben Lee")
    named = [_user(fake.bot_id, "agents", bot=True)] if f"<@{fake.bot_id}>" in text else []
    message = _message(fake, channel_id, author, text) | {"mentions": named}
    if channel["type"] != PRIVATE:
        member = {"roles": [], "joined_at": _now(), "deaf": False, "mute": False, "flags": 0, "nick": None}
        message |= {"guild_id": str(fake.guild_id), "member": member}
    fake.said[channel_id].append(message | more)
    return message | more


async def say(fake: FakeDiscord, message: Mapping[str, Any]) -> None:
    """Tell every session what was said, those that have no connection when they come back."""
    await _tell(fake, "MESSAGE_CREATE", message)


async def hang_up(fake: FakeDiscord, code: int = WSCloseCode.ABNORMAL_CLOSURE, *, forget: bool = False) -> None:
    """End every connection of the Gateway: by a code, or without a word; with `forget` no session can be resumed."""
    sockets = [session.socket for session in fake.sessions.values() if session.socket is not None]
    if forget:
        fake.sessions.clear()
    for socket in sockets:
        if code != WSCloseCode.ABNORMAL_CLOSURE:
            await socket.close(code=code)
        elif (transport := fake.connections[socket].transport) is not None:
            transport.abort()


async def ask_to_reconnect(fake: FakeDiscord) -> None:
    """Ask every connection to be made anew, as Discord does when it restarts a server."""
    for session in fake.sessions.values():
        if session.socket is not None:
            await session.socket.send_json({"op": 7, "d": None, "s": None, "t": None})


async def until_connected(fake: FakeDiscord) -> None:
    """Wait until a session has a connection."""
    await wait_until(fake, lambda: any(session.socket is not None for session in fake.sessions.values()))


async def until(fake: FakeDiscord, count: int) -> list[str]:
    """Wait until so many messages are taken; return their texts."""
    await wait_until(fake, lambda: len(fake.sent) >= count)
    return [message["content"] for message in fake.sent]


async def _tell(fake: FakeDiscord, event: str, data: Mapping[str, Any]) -> None:
    for session in list(fake.sessions.values()):
        await _tell_one(session, event, data)


async def _tell_one(session: Session, event: str, data: Mapping[str, Any]) -> None:
    told = {"op": 0, "s": len(session.told) + 1, "t": event, "d": data}
    session.told.append(told)
    if session.socket is not None:
        with suppress(ConnectionError):
            await session.socket.send_json(told)


async def _gateway(fake: FakeDiscord, request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    if request.query.get("compress"):
        await socket.close(code=4002)  # the real one has it; whoever stands between could not look into it
        return socket
    await socket.send_json({"op": 10, "d": {"heartbeat_interval": fake.beat_ms}, "s": None, "t": None})
    fake.connections[socket] = request
    try:
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await _answer(fake, socket, json.loads(message.data))
    finally:
        del fake.connections[socket]
        for session in fake.sessions.values():
            if session.socket is socket:
                session.socket = None
    return socket


async def _answer(fake: FakeDiscord, socket: web.WebSocketResponse, said: Mapping[str, Any]) -> None:
    match said["op"], said["d"]:
        case 1, _:
            fake.beats += 1
            await socket.send_json({"op": 11, "d": None, "s": None, "t": None})
        case ((2 | 6), {"token": token}) if token != fake.token:
            await socket.close(code=4004, message=b"Authentication failed.")
        case 2, {"intents": int(intents)} if intents & PRIVILEGED_INTENTS:
            await socket.close(code=4014, message=b"Disallowed intent(s).")
        case 2, about:
            await _identify(fake, socket, about)
        case 6, about:
            await _resume(fake, socket, about)
        case _:
            await socket.close(code=4001, message=b"Unknown opcode.")


async def _identify(fake: FakeDiscord, socket: web.WebSocketResponse, about: dict[str, Any]) -> None:
    fake.sessions_left -= 1
    session = Session(id=f"session-{next(fake.numbers)}", socket=socket)
    ready = {
        "v": 10,
        "user": _user(fake.bot_id, "agents", bot=True),
        "guilds": [{"id": str(fake.guild_id), "unavailable": True}],
        "session_id": session.id,
        "resume_gateway_url": "wss://gateway-elsewhere.discord.example",
        "application": {"id": str(fake.application_id), "flags": 0},
    }
    await _tell_one(session, "READY", ready)
    of_guild = [channel for channel in fake.channels.values() if channel["type"] != PRIVATE]
    guild = {"id": str(fake.guild_id), "name": "Friends", "owner_id": "1", "member_count": 2, "roles": [], "emojis": []}
    guild |= {
        "channels": [channel for channel in of_guild if channel["type"] == TEXT],
        "threads": [channel for channel in of_guild if channel["type"] == THREAD],
        "members": [],
    }
    await _tell_one(session, "GUILD_CREATE", guild)
    async with fake.news:
        fake.identified.append(about)
        fake.sessions[session.id] = session
        fake.news.notify_all()


async def _resume(fake: FakeDiscord, socket: web.WebSocketResponse, about: dict[str, Any]) -> None:
    fake.resumed.append(about)
    session = fake.sessions.get(about["session_id"])
    if session is None or not 0 <= about["seq"] <= len(session.told):
        await socket.send_json({"op": 9, "d": False, "s": None, "t": None})
        return
    for told in session.told[about["seq"] :]:
        await socket.send_json(told)
    async with fake.news:
        session.socket = socket
        fake.news.notify_all()
    await _tell_one(session, "RESUMED", {})


async def _call(fake: FakeDiscord, route: Route, request: web.Request) -> web.StreamResponse:
    fake.requests.append(f"{request.method} {request.path}")
    if request.headers.get("Authorization") != f"Bot {fake.token}":
        return _error(401, 0, "401: Unauthorized")
    return await route(fake, request)


async def _me(fake: FakeDiscord, request: web.Request) -> web.StreamResponse:
    return _json(_user(fake.bot_id, "agents", bot=True))


async def _application(fake: FakeDiscord, request: web.Request) -> web.StreamResponse:
    about: dict[str, Any] = {
        "id": str(fake.application_id),
        "name": "Agents",
        "description": "",
        "icon": None,
        "bot_public": True,
    }
    about |= {"bot_require_code_grant": False, "owner": _user(1, "owner"), "verify_key": "0" * 64, "flags": 0}
    return _json(about)


async def _gateway_bot(fake: FakeDiscord, request: web.Request) -> web.StreamResponse:
    limit = {"total": 1_000, "remaining": fake.sessions_left, "reset_after": 7_200_000, "max_concurrency": 1}
    return _json({"url": "wss://gateway.discord.example", "shards": 1, "session_start_limit": limit})


async def _channel(fake: FakeDiscord, request: web.Request) -> web.StreamResponse:
    channel = fake.channels.get(int(request.match_info["channel"]))
    return _json(channel) if channel else _error(404, 10003, "Unknown Channel")


async def _history(fake: FakeDiscord, request: web.Request) -> web.StreamResponse:
    after, limit = int(request.query.get("after", 0)), int(request.query.get("limit", 50))
    said = [one for one in fake.said[int(request.match_info["channel"])] if int(one["id"]) > after]
    shown = [{name: one[name] for name in one if name not in _OF_EVENTS} for one in said[:limit]]
    return _json(shown[::-1])


_OF_EVENTS = ("guild_id", "member", "nonce")
"""What the Gateway says of a message, and the REST API does not."""


async def _typing(fake: FakeDiscord, request: web.Request) -> web.StreamResponse:
    await keep(fake, fake.typed, int(request.match_info["channel"]))
    return web.Response(status=204)


async def _create(fake: FakeDiscord, request: web.Request) -> web.StreamResponse:
    channel_id = int(request.match_info["channel"])
    given, file = await _given(request)
    behaviour = fake.behaviours.popleft() if fake.behaviours else Behaviour.ACCEPT
    paced, pace = _pace(fake, channel_id)
    if behaviour is Behaviour.SLOW_DOWN or not paced:
        fake.refused_for_pace += 1
        return _slow_down(fake.retry_after_s)
    if behaviour in _ERRORS:
        return _error(*_ERRORS[behaviour])
    if (request.content_length or 0) > BODY_LIMIT_BYTES:
        return _error(413, 40005, "Request entity too large")
    content, nonce = given.get("content") or "", str(given.get("nonce", ""))
    if not content.strip() or len(content) > TEXT_LIMIT or len(nonce) > NONCE_LIMIT:
        return _error(400, 50035, "Invalid Form Body")
    same = [one for one in fake.said[channel_id] if nonce and given.get("enforce_nonce") and one.get("nonce") == nonce]
    message = same[0] if same else await _take(fake, channel_id, content.strip(), given, file)
    if behaviour in LOST_ANSWERS:
        return await lose_answer(fake, request, behaviour, _error(500, 0, "500: Internal Server Error"))
    return _json(message, headers=pace)


async def _given(request: web.Request) -> tuple[dict[str, Any], tuple[str, bytes] | None]:
    """Return what is asked for, and the file that comes with it: its name and its content."""
    if request.content_type != "multipart/form-data":
        return await request.json(), None
    form = await request.post()
    file = form["files[0]"]
    assert isinstance(file, web.FileField)
    return json.loads(str(form["payload_json"])), (file.filename, file.file.read())


async def _take(
    fake: FakeDiscord, channel_id: int, content: str, given: Mapping[str, Any], file: tuple[str, bytes] | None
) -> dict[str, Any]:
    author = _user(fake.bot_id, "agents", bot=True)
    message = _message(fake, channel_id, author, content)
    message |= {"nonce": given.get("nonce", ""), "flags": given.get("flags", 0)}
    if file is not None:
        path = f"/attachments/{channel_id}/{message['id']}/{file[0]}"
        fake.files[path] = file[1]
        about = {"id": message["id"], "filename": file[0], "size": len(file[1]), "proxy_url": "x"}
        message["attachments"] = [about | {"url": f"https://cdn.discordapp.com{path}?ex=1&is=2&hm=3"}]
    async with fake.news:
        fake.said[channel_id].append(message)
        fake.sent.append(message | {"allowed_mentions": given.get("allowed_mentions")})
        fake.news.notify_all()
    return message


def _pace(fake: FakeDiscord, channel_id: int) -> tuple[bool, dict[str, str]]:
    """Count a message; return whether it may be, and what is said of the limit."""
    now_s, times = time.monotonic(), fake.times[channel_id]
    while times and times[0] <= now_s - fake.window_s:
        times.popleft()
    if len(times) >= fake.pace:
        return False, {}
    times.append(now_s)
    left_s = times[0] + fake.window_s - now_s
    headers = {"X-RateLimit-Limit": str(fake.pace), "X-RateLimit-Remaining": str(fake.pace - len(times))}
    return True, headers | {"X-RateLimit-Reset-After": f"{left_s:.3f}", "X-RateLimit-Bucket": "0123456789abcdef"}


def _slow_down(retry_after_s: float) -> web.Response:
    body = {"message": "You are being rate limited.", "retry_after": retry_after_s, "global": False}
    headers = {"Retry-After": str(retry_after_s), "Via": "1.1 google", "X-RateLimit-Scope": "user"}
    return _json(body, status=429, headers=headers)


async def _file(fake: FakeDiscord, request: web.Request) -> web.StreamResponse:
    if "Authorization" in request.headers or request.path not in fake.files:
        return web.Response(status=404)
    return web.Response(body=fake.files[request.path], content_type="application/octet-stream")


_ROUTES: Mapping[tuple[str, str], Route] = {
    ("GET", "/users/@me"): _me,
    ("GET", "/oauth2/applications/@me"): _application,
    ("GET", "/gateway/bot"): _gateway_bot,
    ("GET", "/channels/{channel}"): _channel,
    ("GET", "/channels/{channel}/messages"): _history,
    ("POST", "/channels/{channel}/messages"): _create,
    ("POST", "/channels/{channel}/typing"): _typing,
}


def _json(document: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return an answer as Discord gives it: discord.py looks for this media type and no other."""
    told = {"Content-Type": "application/json", **(headers or {})}
    return web.Response(body=json.dumps(document).encode(), status=status, headers=told)


def _error(status: int, code: int, message: str) -> web.Response:
    return _json({"message": message, "code": code}, status=status)


def _user(user_id: int, name: str, shown: str | None = None, *, bot: bool = False) -> dict[str, Any]:
    user = {"id": str(user_id), "username": name, "discriminator": "0", "avatar": None, "global_name": shown}
    return user | {"bot": bot}


def _message(fake: FakeDiscord, channel_id: int, author: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Return a message, whose id has the time in it."""
    message_id = (int(time.time() * 1000) - EPOCH_MS << 22) + next(fake.numbers)
    message: dict[str, Any] = {
        "id": str(message_id),
        "channel_id": str(channel_id),
        "author": author,
        "content": text,
        "type": 0,
    }
    message |= {"timestamp": _now(), "edited_timestamp": None, "tts": False, "mention_everyone": False, "pinned": False}
    return message | {
        "mentions": [],
        "mention_roles": [],
        "attachments": [],
        "embeds": [],
        "flags": 0,
        "components": [],
    }


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000000+00:00", time.gmtime())
