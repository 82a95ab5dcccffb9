"""Slack: replies out, asking it what it was given, files in and out, and showing that the agent is at work.

Facts: https://docs.slack.dev/reference/methods/chat.postMessage, https://docs.slack.dev/messaging/message-metadata,
https://docs.slack.dev/messaging/working-with-files#uploading_files,
https://docs.slack.dev/reference/methods/assistant.threads.setStatus.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from html import unescape
from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_slack_response import AsyncSlackResponse

from subclaw.channels.markdown import split_markdown
from subclaw.channels.slack.client import NotSent, SlackClient
from subclaw.channels.slack.errors import UNFORMATTED, error_code, meaning, refused, refused_file
from subclaw.channels.slack.words import as_plain_text, quiet
from subclaw.core.channel import (
    Address,
    Delivery,
    NotSeen,
    NotTold,
    OutboundFile,
    OutboundMessage,
    Seen,
    SendResult,
    Sighting,
    Trouble,
)
from subclaw.core.errors import Invalid, Unavailable
from subclaw.core.outgoing import UPLOAD_LIMIT_BYTES

PART_LIMIT = 10_000
"""What is sent in one message. Slack takes 12,000 characters of Markdown, and may count what it makes of them."""

CLOCK_MARGIN = timedelta(minutes=5)
"""How far Slack's clock and ours may be apart."""

UPLOAD_LIMIT_S, SHOW_LIMIT_S = 40.0, 15.0
"""How long it may take until Slack has a file, which nobody sees yet, and until it shows it."""

SCOPES = (
    *("chat:write", "app_mentions:read", "im:history", "mpim:history", "channels:history", "groups:history"),
    *("files:read", "files:write"),
)
STATUS = "is at work…"
_PAGE, _PAGES = 100, 5
_REPLY = "subclaw_reply"
"""What Slack keeps with a message of ours, for nobody to see: which reply it is, and which part of it."""


class SlackChannel:
    """The way out by Slack. An address is the id of a place (`D…` for a person's own), its thread a `thread_ts`."""

    name = "slack"

    def __init__(self, client: SlackClient) -> None:
        self._client = client

    def parts(self, text: str) -> Sequence[str]:
        """Cut a reply into messages."""
        return split_markdown(text, PART_LIMIT)

    async def send(self, message: OutboundMessage) -> SendResult:
        """Send a message. Slack has no idempotency key, so an answer that is lost leaves it `UNKNOWN`; see `find`."""
        return await _outcome(self._say(message), refused)

    def takes(self, to: Address, media_type: str, size_bytes: int) -> bool:
        """Say whether Slack takes such a file: any, up to 1 GB, of which the way there takes less."""
        return size_bytes <= UPLOAD_LIMIT_BYTES

    async def send_file(self, message: OutboundMessage, file: OutboundFile) -> SendResult:
        """Bring a file to Slack and have it shown, by its title; only the latter can leave it `UNKNOWN`.

        Slack does not say which message it is shown in, so it is known by the file's own id.
        """
        try:
            async with asyncio.timeout(UPLOAD_LIMIT_S):
                file_id = await self._upload(file)
        except SlackApiError as error:
            result = refused_file(error)
            return result if result.delivery is Delivery.FAILED else _not_uploaded(result.detail)
        except (NotSent, SlackClientError, Invalid, aiohttp.ClientError, TimeoutError, OSError):
            return _not_uploaded("the file could not be brought to Slack")
        return await _outcome(self._show(message, file_id), refused_file)

    async def _upload(self, file: OutboundFile) -> str:
        asked = await self._client.files_getUploadURLExternal(filename=file.name, length=file.size_bytes)
        await self._client.upload(str(asked.get("upload_url")), file.content)
        return str(asked.get("file_id"))

    async def _show(self, message: OutboundMessage, file_id: str) -> str:
        async with asyncio.timeout(SHOW_LIMIT_S):
            await self._client.files_completeUploadExternal(
                files=[{"id": file_id, "title": message.text}],
                channel_id=message.to.address,
                thread_ts=message.to.thread or None,
            )
        return file_id

    async def _say(self, message: OutboundMessage) -> str:
        """Send a text with its format; as it is, if Slack cannot lay it out. Return the name that Slack gives it."""
        text = quiet(message.text)
        try:
            said = await self._post(message, markdown_text=text)
        except SlackApiError as error:
            if error_code(error) not in UNFORMATTED:
                raise
            said = await self._post(message, text=as_plain_text(text), mrkdwn=False)
        return str(said.get("ts"))

    async def _post(self, message: OutboundMessage, **text: Any) -> AsyncSlackResponse:
        # Slack would fetch what links lead to, and so tell their hosts what stands in them, before anybody has looked.
        return await self._client.chat_postMessage(
            channel=message.to.address,
            thread_ts=message.to.thread or None,
            metadata={"event_type": _REPLY, "event_payload": _mark(message)},
            unfurl_links=False,
            unfurl_media=False,
            **text,
        )

    async def find(self, message: OutboundMessage, *, since: datetime, known: Collection[str]) -> Sighting:
        """Look for a message where it was sent: by what Slack keeps with it, a file by its title and size."""
        pages = 0
        try:
            name_of = await self._finder(message)
            async for page in self._since(message.to, since - CLOCK_MARGIN):
                for name in filter(None, map(name_of, page)):
                    if name not in known:
                        return Seen(provider_id=name, delivery=Delivery.SENT)
                pages += 1
        except SlackApiError as error:
            return NotTold(detail=meaning(error))
        except (NotSent, SlackClientError, Invalid, aiohttp.ClientError, TimeoutError, OSError):
            return NotTold(detail="Slack cannot be asked what it was given")
        return NotSeen() if pages < _PAGES else NotTold(detail="Slack has too many messages there to look through")

    async def _finder(self, message: OutboundMessage) -> Callable[[Mapping[str, Any]], str]:
        """Return what tells Slack's name of a message where it stands in what Slack lists, and of others nothing."""
        if message.file is None:
            mark = _mark(message)
            return lambda listed: str(listed.get("ts")) if _mark_of(listed) == mark else ""
        size_bytes, us = message.file.size_bytes, (await self._client.auth_test()).get("user_id")
        return lambda listed: _file_id(listed, message.text, size_bytes, us)

    async def _since(self, place: Address, since: datetime) -> AsyncIterator[Sequence[Mapping[str, Any]]]:
        """Yield pages of what was said in a place, or in a thread of it."""
        cursor = None
        asked: dict[str, Any] = {"oldest": f"{since.timestamp():.6f}", "limit": _PAGE, "include_all_metadata": True}
        for _ in range(_PAGES):
            if place.thread:
                answer = await self._client.conversations_replies(
                    channel=place.address, ts=place.thread, cursor=cursor, **asked
                )
            else:
                answer = await self._client.conversations_history(channel=place.address, cursor=cursor, **asked)
            messages = answer.get("messages")
            yield [one for one in messages if isinstance(one, dict)] if isinstance(messages, list) else []
            cursor = (answer.get("response_metadata") or {}).get("next_cursor")
            if not cursor:
                return

    async def typing(self, to: Address) -> None:
        """Show in a thread that the agent is at work, until it answers; Slack shows it nowhere else."""
        if not to.thread:
            return
        with suppress(SlackApiError, NotSent):  # not every plan and not every app has this
            await self._client.assistant_threads_setStatus(channel_id=to.address, thread_ts=to.thread, status=STATUS)

    async def fetch(self, handle: str, limit_bytes: int) -> bytes:
        """Return a file that came with a message."""
        return await self._client.download(handle, limit_bytes)

    async def check(self, team: str) -> str:
        """Ask Slack who the bot is, and say in words what it answered. Errors: `Unavailable`."""
        try:
            answer = await self._client.auth_test()
        except SlackApiError as error:
            raise Unavailable(f"Slack: {meaning(error)}.", internal=f"auth.test: {error_code(error)}") from None
        except (NotSent, SlackClientError, Invalid, aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable("Slack cannot be reached.", internal=type(error).__name__) from None
        if answer.get("team_id") != team:
            raise Unavailable(f"The token is for the workspace {answer.get('team_id')}, and SLACK_TEAM_ID says {team}.")
        granted = [scope.strip() for scope in str(answer.headers.get("X-OAuth-Scopes", "")).split(",")]
        missing = [scope for scope in SCOPES if scope not in granted]
        lacking = f"; it lacks the scopes {', '.join(missing)}" if missing else ""
        return f"@{answer.get('user')} is in the workspace {answer.get('team')}{lacking}"


async def _outcome(call: Awaitable[str], refusal: Callable[[SlackApiError], SendResult]) -> SendResult:
    """Say what became of a message that Slack was asked to show."""
    try:
        provider_id = await call
    except SlackApiError as error:
        return refusal(error)
    except (NotSent, aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
        return SendResult(delivery=Delivery.FAILED, detail="no connection to Slack", trouble=Trouble.NETWORK)
    except (aiohttp.ClientError, TimeoutError, OSError):
        return SendResult(delivery=Delivery.UNKNOWN, detail="the connection to Slack broke off")
    except (SlackClientError, Invalid):
        return SendResult(delivery=Delivery.UNKNOWN, detail="Slack's answer was not understood")
    return SendResult(delivery=Delivery.SENT, provider_id=provider_id)


def _not_uploaded(detail: str) -> SendResult:
    return SendResult(delivery=Delivery.FAILED, detail=detail, trouble=Trouble.NETWORK)


def _file_id(listed: Mapping[str, Any], title: str, size_bytes: int, user: object) -> str:
    """Return the id of the file in a message that has this title and size and is this user's; nothing without one."""
    files = listed.get("files")
    for file in files if isinstance(files, list) else []:
        if not isinstance(file, dict) or (file.get("size"), file.get("user")) != (size_bytes, user):
            continue
        if _letters(str(file.get("title"))) == _letters(title):
            return str(file.get("id"))
    return ""


def _letters(title: str) -> str:
    """Return of a title what Slack leaves as it is, however it writes the rest."""
    return "".join(filter(str.isalnum, unescape(title)))


def _mark(message: OutboundMessage) -> dict[str, str]:
    return {"reply": f"{message.tenant_id}/{message.reply_id}/{message.part}"}


def _mark_of(listed: Mapping[str, Any]) -> object:
    metadata = listed.get("metadata")
    if not isinstance(metadata, dict) or metadata.get("event_type") != _REPLY:
        return None
    return metadata.get("event_payload")
