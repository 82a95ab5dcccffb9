"""Files: those of people, which are fetched, and the bot's, which are uploaded and then shown.

Source: https://docs.slack.dev/messaging/working-with-files.
"""

import json
import time

from aiohttp import web

from subclaw.testing.channels.provider import keep
from subclaw.testing.channels.slack.answers import Arguments, refusal
from subclaw.testing.channels.slack.state import FakeSlack, TakenFile, TakenMessage

FILE_LIMIT_BYTES = 20 * 1024 * 1024


async def get_upload_url(fake: FakeSlack, given: Arguments) -> web.StreamResponse:
    """Give an address to which a file's content can be posted (`files.getUploadURLExternal`)."""
    if fake.upload_error:
        return refusal(fake.upload_error)
    file = TakenFile(id=f"F{next(fake.numbers):09d}", name=given["filename"], size_bytes=int(given["length"]))
    fake.uploads[file.id] = file
    url = f"https://files.slack.example/upload/v1/{file.id}"
    return web.json_response({"ok": True, "upload_url": url, "file_id": file.id})


async def upload(fake: FakeSlack, request: web.Request) -> web.StreamResponse:
    """Take a file's content from whoever has its address; the real one wants no token either."""
    file, content = fake.uploads.get(request.match_info["file"]), await request.read()
    if fake.upload_statuses:
        return web.Response(status=fake.upload_statuses.popleft())
    if file is None or "Authorization" in request.headers or len(content) != file.size_bytes:
        return web.Response(status=400)
    file.content = content
    return web.Response(text=f"OK - {len(content)}")


async def complete_upload(fake: FakeSlack, given: Arguments) -> web.StreamResponse:
    """Show an uploaded file in a place (`files.completeUploadExternal`)."""
    place, (asked,) = str(given["channel_id"]), json.loads(given["files"])
    file = fake.uploads.get(asked["id"])
    if place in fake.errors:
        return refusal(fake.errors[place])
    if file is None or file.content is None:
        return refusal("file_not_found")
    file.title = asked["title"]
    ts, thread = f"{int(time.time())}.{next(fake.numbers):06d}", str(given.get("thread_ts") or "")
    message = TakenMessage(ts=ts, place=place, text="", formatted=False, thread=thread, sent=given, file=file)
    await keep(fake, fake.messages, message)
    return web.json_response({"ok": True, "files": [{"id": file.id, "title": file.title}]})


async def download(fake: FakeSlack, request: web.Request) -> web.StreamResponse:
    """Give a person's file to whoever has the token, and others a page to sign in."""
    if request.headers.get("Authorization") != f"Bearer {fake.token}":
        return web.Response(text="<!DOCTYPE html><title>Sign in</title>", content_type="text/html")
    if request.path not in fake.files:
        return web.Response(status=404)
    return web.Response(body=fake.files[request.path], headers={"Content-Disposition": "attachment"})
