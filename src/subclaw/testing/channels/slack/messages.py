"""The methods that take messages, and show those that were taken.

Source: https://docs.slack.dev/reference/methods/chat.postMessage.
"""

import time
from html import escape
from typing import Any

from aiohttp import web

from subclaw.testing.channels.provider import keep
from subclaw.testing.channels.slack.answers import Arguments, refusal
from subclaw.testing.channels.slack.state import BOT, FakeSlack, TakenMessage

TEXT_LIMIT = 40_000
MARKDOWN_LIMIT = 12_000


async def post_message(fake: FakeSlack, given: Arguments) -> web.StreamResponse:
    """Take a message (`chat.postMessage`), or say why not."""
    place, text, markdown = str(given.get("channel", "")), given.get("text", ""), given.get("markdown_text", "")
    if place in fake.errors:
        return refusal(fake.errors[place])
    if place[:1] not in {"C", "D", "G"}:
        return refusal("channel_not_found")
    if text and markdown:
        return refusal("markdown_text_conflict")
    if not (text or markdown).strip():
        return refusal("no_text")
    if len(markdown) > MARKDOWN_LIMIT or len(text) > TEXT_LIMIT:
        return refusal("msg_too_long")
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


async def history(fake: FakeSlack, given: Arguments) -> web.StreamResponse:
    """List the messages of a place, the newest first (`conversations.history`)."""
    found = [one for one in fake.messages if one.place == given["channel"] and not one.thread]
    return _page(list(reversed(found)), given)


async def replies(fake: FakeSlack, given: Arguments) -> web.StreamResponse:
    """List the messages of a thread, the oldest first (`conversations.replies`)."""
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
