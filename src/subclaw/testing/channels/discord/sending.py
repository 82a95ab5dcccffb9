"""Sending a message by the REST API: what is refused, how fast it may be, and what is kept of it.

Source: https://discord.com/developers/docs/resources/message, https://discord.com/developers/docs/topics/rate-limits.
"""

import json
import time
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from subclaw.testing.channels.discord.answers import error_answer, json_answer
from subclaw.testing.channels.discord.conversations import message_of, user
from subclaw.testing.channels.discord.state import Behaviour, FakeDiscord
from subclaw.testing.channels.lost_answers import LOST_ANSWERS, lose_answer

TEXT_LIMIT = 2000
BODY_LIMIT_BYTES = 10 * 1024 * 1024
NONCE_LIMIT = 25

_ERRORS = {
    Behaviour.NO_PRIVATE: (403, 50007, "Cannot send messages to this user"),
    Behaviour.NO_ACCESS: (403, 50001, "Missing Access"),
    Behaviour.NO_PERMISSION: (403, 50013, "Missing Permissions"),
    Behaviour.NO_CHANNEL: (404, 10003, "Unknown Channel"),
    Behaviour.NO_FILE: (400, 20009, "Explicit content cannot be sent to the desired recipient(s)"),
    Behaviour.FAIL: (500, 0, "500: Internal Server Error"),
}


async def create(fake: FakeDiscord, request: web.Request) -> web.StreamResponse:
    """Take a message, or do as is demanded."""
    channel_id = int(request.match_info["channel"])
    given, file = await _given(request)
    behaviour = fake.behaviours.popleft() if fake.behaviours else Behaviour.ACCEPT
    paced, pace = _pace(fake, channel_id)
    if behaviour is Behaviour.SLOW_DOWN or not paced:
        fake.refused_for_pace += 1
        return _slow_down(fake.retry_after_s)
    if behaviour in _ERRORS:
        return error_answer(*_ERRORS[behaviour])
    if (request.content_length or 0) > BODY_LIMIT_BYTES:
        return error_answer(413, 40005, "Request entity too large")
    content, nonce = given.get("content") or "", str(given.get("nonce", ""))
    if not content.strip() or len(content) > TEXT_LIMIT or len(nonce) > NONCE_LIMIT:
        return error_answer(400, 50035, "Invalid Form Body")
    same = [one for one in fake.said[channel_id] if nonce and given.get("enforce_nonce") and one.get("nonce") == nonce]
    message = same[0] if same else await _take(fake, channel_id, content.strip(), given, file)
    if behaviour in LOST_ANSWERS:
        return await lose_answer(fake, request, behaviour, error_answer(*_ERRORS[Behaviour.FAIL]))
    return json_answer(message, headers=pace)


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
    author = user(fake.bot_id, "agents", bot=True)
    message = message_of(fake, channel_id, author, content)
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
    return json_answer(body, status=429, headers=headers)
