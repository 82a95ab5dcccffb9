"""A Telegram of our own on loopback: the Bot API, its files, and webhooks that are delivered until they are taken.

It is strict where the real one is: HTML that it cannot parse, texts that are too long, a token that is not the bot's.
It misbehaves on demand: it asks to slow down, fails or falls silent before or after it took a message.
Source: https://core.telegram.org/bots/api.
"""

import asyncio
import itertools
import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from html.parser import HTMLParser
from typing import Any

import aiohttp
from aiohttp import web

from subclaw.testing.channels.lost_answers import LOST_ANSWERS, LostAnswer, lose_answer
from subclaw.testing.channels.provider import FakeProvider, keep, on_loopback, wait_until
from subclaw.testing.channels.webhooks import deliver_until_taken

TEXT_LIMIT = 4096
CAPTION_LIMIT = 1024
PICTURE_LIMIT_BYTES = 10_000_000
SENT_FILE_LIMIT_BYTES = 50_000_000
FILE_LIMIT_BYTES = 20 * 1024 * 1024
_PICTURE_BEGINNINGS = (b"\x89PNG", b"\xff\xd8", b"RIFF")
_TAGS = frozenset("b strong i em u ins s strike del a code pre blockquote tg-spoiler".split())


class Behaviour(StrEnum):
    """How the fake answers one request to send."""

    ACCEPT = "accept"
    SLOW_DOWN = "slow down"
    BLOCKED = "blocked"
    NO_CHAT = "no chat"
    MIGRATED = "migrated"
    """The group has become a supergroup, whose id is another."""
    FAIL = "fail"
    FAIL_TAKEN = LostAnswer.FAIL
    HANG_TAKEN = LostAnswer.HANG
    DROP = LostAnswer.DROP
    BABBLE = LostAnswer.BABBLE


@dataclass(frozen=True, kw_only=True)
class TakenMessage:
    """A message that the fake took: `text` as people read it, and `sent` as it came.

    With a file, `text` is what stands below it; `as_picture` says whether it is shown at once.
    """

    message_id: int
    chat_id: int
    text: str
    sent: str
    formatted: bool
    file_name: str = ""
    content: bytes = b""
    as_picture: bool = False


@dataclass(kw_only=True)
class FakeTelegram(FakeProvider):
    """The state of the fake.

    `behaviours` holds for the messages that are to come, one each; after that it accepts. `files` are by their id.
    Webhooks are posted to `webhooks_to`, which stands for the origin of the address that was set, again after
    `again_s` if they were not taken; what was answered stands in `answers`.
    """

    token: str
    bot: str = "agents_bot"
    behaviours: deque[Behaviour] = field(default_factory=deque)
    retry_after_s: int = 1
    messages: list[TakenMessage] = field(default_factory=list)
    actions: list[tuple[int, str]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    webhook: dict[str, Any] = field(default_factory=dict)
    webhooks_to: str = ""
    again_s: float = 0.05
    answers: list[int] = field(default_factory=list)
    pending: deque[dict[str, Any]] = field(default_factory=deque)
    update_ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(5_000))
    message_ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    orders: defaultdict[int, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))


Method = Callable[[FakeTelegram, web.Request, Mapping[str, str]], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def fake_telegram(*, token: str, bot: str = "agents_bot", port: int = 0) -> AsyncIterator[FakeTelegram]:
    """Serve the fake on a port of loopback."""
    fake = FakeTelegram(token=token, bot=bot)
    app = web.Application(client_max_size=2 * SENT_FILE_LIMIT_BYTES)
    app.router.add_route("*", "/bot{token}/{method}", partial(_call, fake))
    app.router.add_get("/file/bot{token}/{path:.+}", partial(_file, fake))
    async with on_loopback(fake, app, port=port) as origin:
        fake.base_url = origin
        yield fake


async def say(fake: FakeTelegram, update: Mapping[str, Any], *, deliveries: int = 1) -> int:
    """Have a person's update delivered as Telegram does: one after the other in a chat, and again until it is taken.

    With several `deliveries`, it is delivered so often although it was taken. Return how often it was refused before.
    """
    async with fake.orders[int(update["message"]["chat"]["id"])]:
        return await deliver_until_taken(partial(_post, fake, update), again_s=fake.again_s, deliveries=deliveries)


async def _post(fake: FakeTelegram, update: Mapping[str, Any], session: aiohttp.ClientSession) -> bool:
    headers = {"X-Telegram-Bot-Api-Secret-Token": str(fake.webhook.get("secret_token", ""))}
    async with session.post(fake.webhooks_to, json=update, headers=headers) as response:
        fake.answers.append(response.status)
        body = await response.read()
        if not 200 <= response.status < 300:
            return False
    if body and response.content_type == "application/json":
        made = {name: str(value) for name, value in json.loads(body).items()}
        if made.pop("method") == "sendMessage":
            text, chat_id = made["text"], int(made["chat_id"])
            id = next(fake.message_ids)
            taken = TakenMessage(message_id=id, chat_id=chat_id, text=text, sent=text, formatted=False)
            await keep(fake, fake.messages, taken)
    return True


def written(fake: FakeTelegram, text: str = "", *, chat_id: int = 1001, **more: Any) -> dict[str, Any]:
    """Return the update for what a person wrote to the bot. `more` overrides or adds fields of the message."""
    message = {
        "message_id": next(fake.message_ids),
        "from": {"id": 1001, "is_bot": False, "first_name": "Ann", "last_name": "Lee", "language_code": "en"},
        "chat": {"id": chat_id, "type": "private", "first_name": "Ann"},
        "date": 1_790_000_000,
    }
    if chat_id < 0:
        message["chat"] = {"id": chat_id, "type": "supergroup", "title": "Friends"}
    if text:
        message["text"] = text
    return {"update_id": next(fake.update_ids), "message": message | more}


def mention(text: str, name: str) -> dict[str, Any]:
    """Return the entity for a name in a text."""
    before = text[: text.index(name)]
    return {"type": "mention", "offset": _units(before), "length": _units(name)}


async def until(fake: FakeTelegram, count: int) -> list[str]:
    """Wait until so many messages are taken; return their texts as people read them."""
    await wait_until(fake, lambda: len(fake.messages) >= count)
    return [message.text for message in fake.messages]


async def _call(fake: FakeTelegram, request: web.Request) -> web.StreamResponse:
    method, token = request.match_info["method"], request.match_info["token"]
    fake.requests.append(method)
    if token != fake.token:
        return _error(401, "Unauthorized")
    if method not in _METHODS:
        return _error(404, "Not Found: method not found")
    posted = await request.post()
    form = {name: str(value) for name, value in posted.items() if not isinstance(value, web.FileField)}
    return await _METHODS[method](fake, request, {**request.query, **form})


async def _get_me(fake: FakeTelegram, request: web.Request, form: Mapping[str, str]) -> web.StreamResponse:
    bot_id = int(fake.token.partition(":")[0])
    return _result({"id": bot_id, "is_bot": True, "first_name": "Agents", "username": fake.bot})


async def _set_webhook(fake: FakeTelegram, request: web.Request, form: Mapping[str, str]) -> web.StreamResponse:
    if not form.get("url", "").startswith("https://"):
        return _error(400, "Bad Request: bad webhook: An HTTPS URL must be provided for webhook")
    fake.webhook = dict(form)
    return _result(True)


async def _delete_webhook(fake: FakeTelegram, request: web.Request, form: Mapping[str, str]) -> web.StreamResponse:
    fake.webhook = {}
    return _result(True)


async def _webhook_info(fake: FakeTelegram, request: web.Request, form: Mapping[str, str]) -> web.StreamResponse:
    info = {"url": fake.webhook.get("url", ""), "has_custom_certificate": False}
    return _result(info | {"pending_update_count": len(fake.pending)})


async def _get_updates(fake: FakeTelegram, request: web.Request, form: Mapping[str, str]) -> web.StreamResponse:
    if fake.webhook:
        return _error(409, "Conflict: can't use getUpdates method while webhook is active")
    offset = int(form.get("offset", "0"))
    while fake.pending and fake.pending[0]["update_id"] < offset:
        fake.pending.popleft()
    if not fake.pending:
        await asyncio.sleep(0.02)
    return _result(list(fake.pending))


async def _send_message(fake: FakeTelegram, request: web.Request, form: Mapping[str, str]) -> web.StreamResponse:
    sent, formatted = form.get("text", ""), form.get("parse_mode") == "HTML"
    try:
        text = read_html(sent) if formatted else sent
    except ValueError as error:
        return _error(400, f"Bad Request: can't parse entities: {error}")
    if not text.strip():
        return _error(400, "Bad Request: message text is empty")
    if _units(text) > TEXT_LIMIT:
        return _error(400, "Bad Request: message is too long")
    taken = TakenMessage(
        message_id=next(fake.message_ids), chat_id=int(form["chat_id"]), text=text, sent=sent, formatted=formatted
    )
    return await _behave(fake, request, taken)


async def _send_file(
    fake: FakeTelegram, request: web.Request, form: Mapping[str, str], *, field: str
) -> web.StreamResponse:
    file = (await request.post()).get(form.get(field, "").removeprefix("attach://"))
    caption, as_picture = form.get("caption", ""), field == "photo"
    if not isinstance(file, web.FileField):
        return _error(400, f"Bad Request: there is no {field} in the request")
    content = file.file.read()
    if _units(caption) > CAPTION_LIMIT:
        return _error(400, "Bad Request: message caption is too long")
    if len(content) > (PICTURE_LIMIT_BYTES if as_picture else SENT_FILE_LIMIT_BYTES):
        return _error(413, "Request Entity Too Large")
    if as_picture and not content.startswith(_PICTURE_BEGINNINGS):
        return _error(400, "Bad Request: IMAGE_PROCESS_FAILED")
    taken = TakenMessage(
        message_id=next(fake.message_ids),
        chat_id=int(form["chat_id"]),
        text=caption,
        sent=caption,
        formatted=False,
        file_name=file.filename,
        content=content,
        as_picture=as_picture,
    )
    return await _behave(fake, request, taken)


async def _behave(fake: FakeTelegram, request: web.Request, message: TakenMessage) -> web.StreamResponse:
    """Take a message, or do as is demanded."""
    behaviour = fake.behaviours.popleft() if fake.behaviours else Behaviour.ACCEPT
    match behaviour:
        case Behaviour.SLOW_DOWN:
            words = f"Too Many Requests: retry after {fake.retry_after_s}"
            return _error(429, words, parameters={"retry_after": fake.retry_after_s})
        case Behaviour.BLOCKED:
            return _error(403, "Forbidden: bot was blocked by the user")
        case Behaviour.NO_CHAT:
            return _error(400, "Bad Request: chat not found")
        case Behaviour.MIGRATED:
            words = "Bad Request: group chat was upgraded to a supergroup chat"
            return _error(400, words, parameters={"migrate_to_chat_id": message.chat_id - 1_000_000})
        case Behaviour.FAIL:
            return _error(500, "Internal Server Error")
    await keep(fake, fake.messages, message)
    if behaviour in LOST_ANSWERS:
        return await lose_answer(fake, request, behaviour, _error(500, "Internal Server Error"))
    chat = {"id": message.chat_id, "type": "private" if message.chat_id > 0 else "supergroup"}
    told = {"message_id": message.message_id, "date": 1_790_000_000, "chat": chat}
    return _result(told | {"caption" if message.file_name else "text": message.text})


async def _chat_action(fake: FakeTelegram, request: web.Request, form: Mapping[str, str]) -> web.StreamResponse:
    await keep(fake, fake.actions, (int(form["chat_id"]), form["action"]))
    return _result(True)


async def _get_file(fake: FakeTelegram, request: web.Request, form: Mapping[str, str]) -> web.StreamResponse:
    file_id = form.get("file_id", "")
    if file_id not in fake.files:
        return _error(400, "Bad Request: wrong file_id or the file is temporarily unavailable")
    size_bytes = len(fake.files[file_id])
    if size_bytes > FILE_LIMIT_BYTES:
        return _error(400, "Bad Request: file is too big")
    file = {"file_id": file_id, "file_unique_id": f"u{file_id}", "file_size": size_bytes}
    return _result(file | {"file_path": f"documents/{file_id}.bin"})


async def _file(fake: FakeTelegram, request: web.Request) -> web.StreamResponse:
    file_id = request.match_info["path"].removeprefix("documents/").removesuffix(".bin")
    if request.match_info["token"] != fake.token or file_id not in fake.files:
        return _error(404, "Not Found")
    return web.Response(body=fake.files[file_id], content_type="application/octet-stream")


_METHODS: Mapping[str, Method] = {
    "getMe": _get_me,
    "setWebhook": _set_webhook,
    "deleteWebhook": _delete_webhook,
    "getWebhookInfo": _webhook_info,
    "getUpdates": _get_updates,
    "sendMessage": _send_message,
    "sendPhoto": partial(_send_file, field="photo"),
    "sendDocument": partial(_send_file, field="document"),
    "sendChatAction": _chat_action,
    "getFile": _get_file,
}


def _result(result: object) -> web.Response:
    return web.json_response({"ok": True, "result": result})


def _error(status: int, description: str, *, parameters: Mapping[str, int] | None = None) -> web.Response:
    body = {"ok": False, "error_code": status, "description": description}
    return web.json_response(body | ({"parameters": parameters} if parameters else {}), status=status)


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def read_html(text: str) -> str:
    """Return what people read of Telegram's HTML. Errors: `ValueError` where Telegram takes none of it."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    if reader.open:
        raise ValueError(f"Can't find end tag corresponding to start tag {reader.open[-1]!r}")
    return reader.text


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _TAGS:
            raise ValueError(f"Unsupported start tag {tag!r}")
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            raise ValueError(f"Unexpected end tag {tag!r}")

    def handle_data(self, data: str) -> None:
        self.text += data
