"""A BlueBubbles server of our own on loopback: its REST API, its webhooks, and the Mac behind it.

It is strict where the real one is: the password in the query, what a message needs, one with a `tempGuid` that it is
sending already. It reports a message once, whatever it is answered. It misbehaves on demand.
Source: https://documenter.getpostman.com/view/765844/UV5RnfwM, and BlueBubbles' own code.
"""

import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any

import aiohttp
from aiohttp import web

from subclaw.testing.channels.lost_answers import LOST_ANSWERS, LostAnswer, lose_answer
from subclaw.testing.channels.provider import FakeProvider, keep, on_loopback, wait_until


class Behaviour(StrEnum):
    """How the fake answers one request to send."""

    ACCEPT = "accept"
    NO_IMESSAGE = "22"
    """The Mac tried, and the address has no iMessage."""
    SLOW_DOWN = "slow down"
    FAIL = "fail"
    FAIL_TAKEN = LostAnswer.FAIL
    """Send the message, and answer 500, as when the Mac does not find what it sent."""
    HANG_TAKEN = LostAnswer.HANG
    DROP = LostAnswer.DROP
    BABBLE = LostAnswer.BABBLE


@dataclass(kw_only=True)
class FakeBlueBubbles(FakeProvider):
    """The state of the fake.

    `messages` are all that the Mac has, of both sides. With `has_helper` the Private API is on, and `calls` are for
    typing and reading. Messages are reported to `webhooks`, whose origin `webhooks_to` stands for; what was answered
    stands in `answers`. `sending` are the `tempGuid`s of what is being sent.
    """

    password: str
    has_helper: bool = False
    behaviours: deque[Behaviour] = field(default_factory=deque)
    messages: list[dict[str, Any]] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    webhooks: list[str] = field(default_factory=list)
    webhooks_to: str = ""
    sending: set[str] = field(default_factory=set)
    answers: list[int] = field(default_factory=list)
    ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    @property
    def sent(self) -> list[dict[str, Any]]:
        """Return the messages that were sent from this Mac."""
        return [message for message in self.messages if message["isFromMe"]]


@asynccontextmanager
async def fake_bluebubbles(*, password: str, port: int = 0) -> AsyncIterator[FakeBlueBubbles]:
    """Serve the fake on a port of loopback."""
    fake = FakeBlueBubbles(password=password)
    app = web.Application(client_max_size=200_000_000, middlewares=[web.middleware(partial(_let_in, fake))])
    app.router.add_get("/api/v1/server/info", partial(_info, fake))
    app.router.add_post("/api/v1/message/text", partial(_text, fake))
    app.router.add_post("/api/v1/message/attachment", partial(_attachment, fake))
    app.router.add_post("/api/v1/message/query", partial(_query, fake))
    app.router.add_get("/api/v1/webhook", partial(_list_webhooks, fake))
    app.router.add_post("/api/v1/webhook", partial(_add_webhook, fake))
    app.router.add_post("/api/v1/chat/{guid}/{what:typing|read}", partial(_show, fake))
    app.router.add_get("/api/v1/attachment/{guid}/download", partial(_download, fake))
    async with on_loopback(fake, app, port=port) as origin:
        fake.base_url = origin
        yield fake


def written(
    fake: FakeBlueBubbles, text: str, *, person: str, chat: str = "", ago_s: float = 0, **more: Any
) -> dict[str, Any]:
    """Return a message that the Mac got, and keep it there. `chat` is a group's identifier."""
    guid = f"iMessage;+;{chat}" if chat else f"iMessage;-;{person}"
    message = {
        "originalROWID": next(fake.ids),
        "guid": f"5D3AC7B2-0000-4000-8000-{next(fake.ids):012}",
        "text": text,
        "handle": {"address": person, "service": "iMessage"},
        "chats": [{"guid": guid, "style": 43 if chat else 45}],
        "attachments": [],
        "isFromMe": False,
        "itemType": 0,
        "associatedMessageGuid": None,
        "dateCreated": int((time.time() - ago_s) * 1000),
        "dateDelivered": None,
        "error": 0,
    } | more
    fake.messages.append(message)
    return message


async def report(fake: FakeBlueBubbles, message: dict[str, Any], *, event: str = "new-message") -> list[int]:
    """Report a message to every webhook, once, as BlueBubbles does. Return what was answered."""
    answers = []
    async with aiohttp.ClientSession() as session:
        for url in fake.webhooks:
            path = "/" + url.split("/", 3)[3]
            async with session.post(fake.webhooks_to + path, json={"type": event, "data": message}) as response:
                answers.append(response.status)
    fake.answers += answers
    return answers


async def say(fake: FakeBlueBubbles, text: str, *, person: str, **more: Any) -> list[int]:
    """Have a person write, and report it. Return what was answered."""
    return await report(fake, written(fake, text, person=person, **more))


async def until(fake: FakeBlueBubbles, count: int) -> list[str]:
    """Wait until so many messages were sent from the Mac; return their texts."""
    await wait_until(fake, lambda: len(fake.sent) >= count)
    return [message["text"] for message in fake.sent]


async def _let_in(fake: FakeBlueBubbles, request: web.Request, handler: Any) -> web.StreamResponse:
    if request.query.get("password") != fake.password:
        return _error(401, "Unauthorized", "Authentication Error")
    answer: web.StreamResponse = await handler(request)
    return answer


async def _info(fake: FakeBlueBubbles, request: web.Request) -> web.StreamResponse:
    helper = {"private_api": fake.has_helper, "helper_connected": fake.has_helper}
    return _result({"os_version": "15.1", "server_version": "1.9.9"} | helper)


async def _text(fake: FakeBlueBubbles, request: web.Request) -> web.StreamResponse:
    given = await request.json()
    chat, temporary, text = given.get("chatGuid"), given.get("tempGuid"), given.get("message")
    if not chat or not text or (given.get("method") == "apple-script" and not temporary):
        return _error(400, "Validation Error", "A 'tempGuid' is required when sending via AppleScript")
    return await _behave(fake, request, given, text)


async def _attachment(fake: FakeBlueBubbles, request: web.Request) -> web.StreamResponse:
    form = await request.post()
    file, given = form.get("attachment"), {name: value for name, value in form.items() if isinstance(value, str)}
    if not isinstance(file, web.FileField) or not all(given.get(name) for name in ("chatGuid", "tempGuid", "name")):
        return _error(400, "Validation Error", "Attachment not provided or was empty!")
    guid = f"at_0_{next(fake.ids):012}"
    fake.files[guid] = file.file.read()
    attached = {"guid": guid, "transferName": given["name"], "totalBytes": len(fake.files[guid])}
    return await _behave(fake, request, given, "\ufffc", attachments=[attached])


async def _behave(
    fake: FakeBlueBubbles, request: web.Request, given: Mapping[str, Any], text: str, **more: Any
) -> web.StreamResponse:
    """Send a message, or do as is demanded."""
    chat, temporary = given["chatGuid"], given.get("tempGuid")
    if given.get("method") == "private-api" and not fake.has_helper:
        return _error(500, "iMessage Error", "iMessage Private API is not enabled!")
    if temporary in fake.sending:
        return _error(400, "Validation Error", f"Message is already queued to be sent! (Temp GUID: {temporary})")
    behaviour = fake.behaviours.popleft() if fake.behaviours else Behaviour.ACCEPT
    if behaviour is Behaviour.SLOW_DOWN:
        return _error(429, "Too Many Requests", "Slow down")
    if behaviour is Behaviour.FAIL:
        return _error(500, "Server Error", "AppleScript could not be run")
    fake.methods.append(given["method"])
    failed = 22 if behaviour is Behaviour.NO_IMESSAGE else 0
    message = await _send(fake, chat, text, failed, **more)
    if failed:
        return _error(500, "iMessage Error", f"Message failed to {chat}", data=message)
    if behaviour in LOST_ANSWERS:
        return await lose_answer(fake, request, behaviour, _error(500, "Message Send Error", "Transaction timeout"))
    return _result(message | {"tempGuid": temporary}, "Message sent!")


async def _send(fake: FakeBlueBubbles, chat: str, text: str, failed: int, **more: Any) -> dict[str, Any]:
    message = written(fake, text, person=chat.rpartition(";")[2], isFromMe=True, error=failed, **more)
    message["chats"] = [{"guid": chat}]
    async with fake.news:
        fake.news.notify_all()
    return message


async def _query(fake: FakeBlueBubbles, request: web.Request) -> web.StreamResponse:
    given = await request.json()
    chat = given.get("chatGuid")
    found = [
        message
        for message in fake.messages
        if message["dateCreated"] >= given.get("after", 0)
        and (chat is None or any(one["guid"] == chat for one in message["chats"]))
    ]
    found.sort(key=lambda message: message["dateCreated"], reverse=given.get("sort") == "DESC")
    return _result(found[: min(given.get("limit", 100), 1_000)])


async def _list_webhooks(fake: FakeBlueBubbles, request: web.Request) -> web.StreamResponse:
    listed = [{"id": id, "url": url, "events": '["new-message"]'} for id, url in enumerate(fake.webhooks)]
    return _result(listed)


async def _add_webhook(fake: FakeBlueBubbles, request: web.Request) -> web.StreamResponse:
    given = await request.json()
    if not given.get("url") or not given.get("events"):
        return _error(400, "Validation Error", "The url field is required")
    fake.webhooks.append(given["url"])
    return _result({"id": len(fake.webhooks), "url": given["url"]}, "Successfully created webhook!")


async def _show(fake: FakeBlueBubbles, request: web.Request) -> web.StreamResponse:
    if not fake.has_helper:
        return _error(500, "iMessage Error", "iMessage Private API is not enabled!")
    await keep(fake, fake.calls, f"{request.match_info['what']} {request.match_info['guid']}")
    return _result(None)


async def _download(fake: FakeBlueBubbles, request: web.Request) -> web.StreamResponse:
    if request.match_info["guid"] not in fake.files:
        return _error(404, "Database Error", "Attachment does not exist!")
    return web.Response(body=fake.files[request.match_info["guid"]], content_type="application/octet-stream")


def _result(data: object, message: str = "Success") -> web.Response:
    return web.json_response({"status": 200, "message": message, "data": data})


def _error(status: int, kind: str, words: str, *, data: object = None) -> web.Response:
    body = {"status": status, "message": "An error", "error": {"type": kind, "message": words}}
    return web.json_response(body | ({"data": data} if data else {}), status=status)
