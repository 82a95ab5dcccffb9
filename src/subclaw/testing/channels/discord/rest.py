"""The REST API: what it answers of the bot and of channels, and the files that lie beside it.

Source: https://discord.com/developers/docs/reference.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from subclaw.testing.channels.discord.answers import error_answer, json_answer
from subclaw.testing.channels.discord.conversations import user
from subclaw.testing.channels.discord.sending import create
from subclaw.testing.channels.discord.state import FakeDiscord
from subclaw.testing.channels.provider import keep

Route = Callable[[FakeDiscord, web.Request], Awaitable[web.StreamResponse]]
"""Answers a request of the bot's."""


async def call(fake: FakeDiscord, route: Route, request: web.Request) -> web.StreamResponse:
    """Answer a request, if it has the bot's token."""
    fake.requests.append(f"{request.method} {request.path}")
    if request.headers.get("Authorization") != f"Bot {fake.token}":
        return error_answer(401, 0, "401: Unauthorized")
    return await route(fake, request)


async def _me(fake: FakeDiscord, request: web.Request) -> web.StreamResponse:
    return json_answer(user(fake.bot_id, "agents", bot=True))


async def _application(fake: FakeDiscord, request: web.Request) -> web.StreamResponse:
    about: dict[str, Any] = {
        "id": str(fake.application_id),
        "name": "Agents",
        "description": "",
        "icon": None,
        "bot_public": True,
    }
    about |= {"bot_require_code_grant": False, "owner": user(1, "owner"), "verify_key": "0" * 64, "flags": 0}
    return json_answer(about)


async def _gateway_bot(fake: FakeDiscord, request: web.Request) -> web.StreamResponse:
    limit = {"total": 1_000, "remaining": fake.sessions_left, "reset_after": 7_200_000, "max_concurrency": 1}
    return json_answer({"url": "wss://gateway.discord.example", "shards": 1, "session_start_limit": limit})


async def _channel(fake: FakeDiscord, request: web.Request) -> web.StreamResponse:
    channel = fake.channels.get(int(request.match_info["channel"]))
    return json_answer(channel) if channel else error_answer(404, 10003, "Unknown Channel")


async def _history(fake: FakeDiscord, request: web.Request) -> web.StreamResponse:
    after, limit = int(request.query.get("after", 0)), int(request.query.get("limit", 50))
    said = [one for one in fake.said[int(request.match_info["channel"])] if int(one["id"]) > after]
    shown = [{name: one[name] for name in one if name not in _OF_EVENTS} for one in said[:limit]]
    return json_answer(shown[::-1])


_OF_EVENTS = ("guild_id", "member", "nonce")
"""What the Gateway says of a message, and the REST API does not."""


async def _typing(fake: FakeDiscord, request: web.Request) -> web.StreamResponse:
    await keep(fake, fake.typed, int(request.match_info["channel"]))
    return web.Response(status=204)


async def download(fake: FakeDiscord, request: web.Request) -> web.StreamResponse:
    """Give a file to whoever has its address; the token has no place there."""
    if "Authorization" in request.headers or request.path not in fake.files:
        return web.Response(status=404)
    return web.Response(body=fake.files[request.path], content_type="application/octet-stream")


ROUTES: Mapping[tuple[str, str], Route] = {
    ("GET", "/users/@me"): _me,
    ("GET", "/oauth2/applications/@me"): _application,
    ("GET", "/gateway/bot"): _gateway_bot,
    ("GET", "/channels/{channel}"): _channel,
    ("GET", "/channels/{channel}/messages"): _history,
    ("POST", "/channels/{channel}/messages"): create,
    ("POST", "/channels/{channel}/typing"): _typing,
}
"""Routes by the method and the path below the API's version."""
