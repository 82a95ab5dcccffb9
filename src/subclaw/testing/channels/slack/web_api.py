"""The Web API: who may call, which methods there are, and how a call goes wrong on demand.

Source: https://docs.slack.dev/reference/methods.
"""

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from subclaw.testing.channels.lost_answers import LOST_ANSWERS, lose_answer
from subclaw.testing.channels.provider import keep
from subclaw.testing.channels.slack.answers import Arguments, refusal
from subclaw.testing.channels.slack.files import complete_upload, get_upload_url
from subclaw.testing.channels.slack.messages import history, post_message, replies
from subclaw.testing.channels.slack.state import BOT, Behaviour, FakeSlack

Method = Callable[[FakeSlack, Arguments], Awaitable[web.StreamResponse]]
"""Answers a call of the bot's."""


async def call(fake: FakeSlack, request: web.Request) -> web.StreamResponse:
    """Answer a call of a method, or do as is demanded."""
    method = request.match_info["method"]
    fake.calls.append(method)
    if request.headers.get("Authorization") != f"Bearer {fake.token}":
        return refusal("invalid_auth")
    if method not in _METHODS:
        return refusal("unknown_method")
    given = await request.json() if request.content_type == "application/json" else dict(await request.post())
    waiting = fake.behaviours.get(method)
    behaviour = waiting.popleft() if waiting else Behaviour.ACCEPT
    if untaken := _untaken(fake, behaviour):
        return untaken
    answer = await _METHODS[method](fake, {**request.query, **given})
    if behaviour is Behaviour.FATAL_TAKEN:
        return refusal("fatal_error")
    if behaviour in LOST_ANSWERS:
        failure = web.Response(status=503, text="<html>", content_type="text/html")
        return await lose_answer(fake, request, behaviour, failure)
    return answer


def _untaken(fake: FakeSlack, behaviour: Behaviour) -> web.Response | None:
    """Return the answer to a call of which nothing is done."""
    match behaviour:
        case Behaviour.SLOW_DOWN:
            headers = {"Retry-After": str(fake.retry_after_s)}
            return web.json_response({"ok": False, "error": "ratelimited"}, status=429, headers=headers)
        case Behaviour.FAIL:
            return web.Response(status=503, text="upstream connect error", content_type="text/html")
        case Behaviour.NO_LAYOUT:
            return refusal("msg_blocks_too_long")
        case _:
            return None


async def _auth_test(fake: FakeSlack, given: Arguments) -> web.StreamResponse:
    about = {"url": "https://home.slack.com/", "team": "Home", "user": "agents", "team_id": fake.team}
    headers = {"X-OAuth-Scopes": fake.scopes}
    return web.json_response({"ok": True, **about, "user_id": BOT, "bot_id": "B0BOT"}, headers=headers)


async def _set_status(fake: FakeSlack, given: Arguments) -> web.StreamResponse:
    if not given.get("thread_ts"):
        return refusal("invalid_thread_ts")
    await keep(fake, fake.statuses, (given["channel_id"], given["thread_ts"], given["status"]))
    return web.json_response({"ok": True})


_METHODS: Mapping[str, Method] = {
    "auth.test": _auth_test,
    "chat.postMessage": post_message,
    "files.getUploadURLExternal": get_upload_url,
    "files.completeUploadExternal": complete_upload,
    "conversations.history": history,
    "conversations.replies": replies,
    "assistant.threads.setStatus": _set_status,
}
