"""WhatsApp: replies out, files in and out, and typing.

Facts: https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/send-messages,
https://developers.facebook.com/documentation/business-messaging/whatsapp/typing-indicators. WhatsApp has no idempotency
key and cannot be asked what it was given, so a lost answer stays `UNKNOWN` until a receipt comes.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import httpx
from pywa_async.client import WhatsApp
from pywa_async.errors import ReEngagementMessage, WhatsAppError
from pywa_async.types.sent_update import SentMessage
from pywa_async.types.templates import BodyText, TemplateLanguage

from subclaw.channels.downloads import gathered, require_at_most
from subclaw.channels.markdown import split_markdown
from subclaw.channels.text import size_units
from subclaw.channels.whatsapp.countries import is_served
from subclaw.channels.whatsapp.errors import refused
from subclaw.channels.whatsapp.formatting import whatsapp_text
from subclaw.channels.whatsapp.settings import FILES_UPSTREAM, Template, WhatsAppSettings
from subclaw.channels.whatsapp.updates import tracker
from subclaw.channels.whatsapp.window import is_closed, template_words
from subclaw.core.attachment import safe_name
from subclaw.core.channel import Address, Delivery, LastHeard, OutboundFile, OutboundMessage, SendResult, Trouble
from subclaw.core.errors import NotFound, Unavailable
from subclaw.core.outgoing import UPLOAD_LIMIT_BYTES
from subclaw.egress.control.client import BASE_URL

TEXT_LIMIT = 4096
"""What WhatsApp takes in one message, in UTF-16 units to be sure."""

PART_LIMIT = 4000
"""What a part of a reply has at most: WhatsApp's format may need some characters more than Markdown."""

SHOWN_S = 20.0
"""How long typing is not shown again: WhatsApp shows it for 25 seconds."""

_NOT_SERVED = SendResult(delivery=Delivery.FAILED, detail="WHATSAPP_COUNTRIES does not have this person's country")
_CLOSED = SendResult(
    delivery=Delivery.FAILED,
    detail="this person has not written for 24 hours: WhatsApp takes only templates, and WHATSAPP_TEMPLATE is not set",
)
_NO_MORE = SendResult(
    delivery=Delivery.FAILED,
    detail="this person has not written for 24 hours: of a long reply only the beginning goes out, by the template",
)


_BY_TEMPLATE = SendResult(
    delivery=Delivery.FAILED,
    detail="this person has not written for 24 hours: of a file a link goes out, by the template",
    trouble=Trouble.FILE,
)

_PICTURES = frozenset({"image/jpeg", "image/png"})
_OFFICE = "application/vnd.openxmlformats-officedocument"
_DOCUMENTS = (
    "application/pdf",
    "text/plain",
    *(
        f"{_OFFICE}.{kind}"
        for kind in ("wordprocessingml.document", "spreadsheetml.sheet", "presentationml.presentation")
    ),
)
_LIMITS_BYTES = dict.fromkeys(_PICTURES, 5_000_000) | dict.fromkeys(_DOCUMENTS, UPLOAD_LIMIT_BYTES)
"""What WhatsApp takes, by type."""


class WhatsAppChannel:
    """The way out by WhatsApp. An address is a number without its plus sign, or WhatsApp's id of who hides it."""

    name = "whatsapp"

    def __init__(self, client: WhatsApp, *, settings: WhatsAppSettings, last_heard: LastHeard) -> None:
        self._client = client
        self._settings = settings
        self._last_heard = last_heard
        self._shown: dict[str, float] = {}

    def parts(self, text: str) -> Sequence[str]:
        """Cut a reply into messages."""
        return split_markdown(text, PART_LIMIT)

    async def send(self, message: OutboundMessage) -> SendResult:
        """Send a message: as it is while the person's window is open, else by the operator's template."""
        return await self._send(message)

    def takes(self, to: Address, media_type: str, size_bytes: int) -> bool:
        """Say whether WhatsApp takes such a file. The way there takes less than its 100 MB."""
        return size_bytes <= _LIMITS_BYTES.get(media_type, 0)

    async def send_file(self, message: OutboundMessage, file: OutboundFile) -> SendResult:
        """Send a file, a picture as one that is shown at once, while the person's window is open."""
        return await self._send(message, file)

    async def _send(self, message: OutboundMessage, file: OutboundFile | None = None) -> SendResult:
        if not is_served(message.to.address, self._settings.countries):
            return _NOT_SERVED
        try:
            heard = await self._last_heard(message.to)
        except Unavailable as error:
            return SendResult(delivery=Delivery.FAILED, detail=error.internal, trouble=Trouble.NETWORK)
        # What is not known here is known there: WhatsApp refuses it.
        closed = heard is not None and is_closed(heard.at, datetime.now(UTC))
        if closed:
            result = _CLOSED
        else:
            result = await (self._send_text(message) if file is None else self._upload(message, file))
        template = self._settings.template
        if result is not _CLOSED or template is None:
            return result
        if file is not None and message.part == 0:
            return _BY_TEMPLATE
        return _NO_MORE if message.part > 0 else await self._send_template(message, template)

    async def _send_text(self, message: OutboundMessage) -> SendResult:
        formatted = whatsapp_text(message.text)
        fits = formatted.strip() and size_units(formatted) <= TEXT_LIMIT
        # Without a preview: WhatsApp would fetch it, and so wake the machine behind a site.
        return await _outcome(
            self._client.send_message(
                message.to.address,
                formatted if fits else message.text,
                preview_url=False,
                tracker=tracker(message.tenant_id, message.reply_id, message.part),
            )
        )

    async def _upload(self, message: OutboundMessage, file: OutboundFile) -> SendResult:
        """Give WhatsApp a file, and send it. What was given and not sent, nobody sees."""
        to, name = message.to.address, safe_name(file.name)
        try:
            media = await self._client.upload_media(file.content, file.media_type, name)
        except WhatsAppError as error:
            known = refused(error.status_code, error.code, _retry_after_s(error))
            if known.delivery is Delivery.UNKNOWN:  # of a message it would be
                return replace(known, delivery=Delivery.FAILED, trouble=Trouble.NETWORK)
            return replace(known, trouble=Trouble.FILE) if known.trouble is Trouble.REFUSED else known
        except (httpx.HTTPError, OSError, ValueError, KeyError, TypeError):
            return SendResult(delivery=Delivery.FAILED, detail="no connection to WhatsApp", trouble=Trouble.NETWORK)
        track = tracker(message.tenant_id, message.reply_id, message.part)
        if file.media_type in _PICTURES:
            return await _outcome(self._client.send_image(to, media, caption=message.text, tracker=track))
        return await _outcome(self._client.send_document(to, media, filename=name, caption=message.text, tracker=track))

    async def _send_template(self, message: OutboundMessage, template: Template) -> SendResult:
        words = template_words(whatsapp_text(message.text).strip() or message.text)
        return await _outcome(
            self._client.send_template(
                message.to.address,
                template.name,
                TemplateLanguage(template.language),
                [BodyText.params(words)],  # type: ignore[arg-type]
                tracker=tracker(message.tenant_id, message.reply_id, message.part),
            )
        )

    async def typing(self, to: Address) -> None:
        """Show that the agent is at work, and that what the person wrote last was read."""
        heard, now_s = await self._last_heard(to), asyncio.get_running_loop().time()
        self._shown = {id: at_s for id, at_s in self._shown.items() if at_s > now_s - SHOWN_S}
        if heard is None or heard.provider_id in self._shown or is_closed(heard.at, datetime.now(UTC)):
            return
        self._shown[heard.provider_id] = now_s
        with contextlib.suppress(WhatsAppError, httpx.HTTPError):
            await self._client.indicate_typing(heard.provider_id)

    async def fetch(self, handle: str, limit_bytes: int) -> bytes:
        """Return a file that came with a message; WhatsApp keeps it for 30 days."""
        try:
            media = await self._client.get_media_url(handle)
            require_at_most(media.file_size, limit_bytes)
            return await gathered(self._client.stream_media(self._by_gateway(media.url)), limit_bytes)
        except WhatsAppError as error:
            if error.status_code in (400, 404):
                raise NotFound("WhatsApp does not have it any more.", internal=f"media: {error.code}") from None
            raise Unavailable("WhatsApp did not give it.", internal=f"media: {error.code}") from None
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            kind = NotFound if status in (404, 410) else Unavailable
            raise kind("WhatsApp did not give it.", internal=f"file: {status}") from None
        except (httpx.HTTPError, OSError, ValueError, KeyError, TypeError) as error:
            raise Unavailable("WhatsApp cannot be reached.", internal=type(error).__name__) from None

    def _by_gateway(self, url: str) -> str:
        """Return how a file's address is asked of the gateway. Errors: `Unavailable` if it is anywhere else."""
        if not url.startswith(f"{self._settings.files_url}/"):
            raise Unavailable("WhatsApp keeps it at a place that is not known here.", internal="media: address")
        return f"{BASE_URL}/{FILES_UPSTREAM}{url.removeprefix(self._settings.files_url)}"


async def _outcome(sending: Awaitable[SentMessage]) -> SendResult:
    """Say what became of a message; `_CLOSED` if WhatsApp knows the window to be closed."""
    try:
        sent = await sending
    except ReEngagementMessage:
        return _CLOSED
    except WhatsAppError as error:
        return refused(error.status_code, error.code, _retry_after_s(error))
    except httpx.ConnectError as error:
        detail = str(error) if "HTTP" in str(error) else "the egress gateway does not run"
        return SendResult(delivery=Delivery.FAILED, detail=detail, trouble=Trouble.NETWORK)
    except (httpx.HTTPError, OSError):
        return SendResult(delivery=Delivery.UNKNOWN, detail="the connection to WhatsApp broke off")
    except (ValueError, KeyError, TypeError, IndexError):
        return SendResult(delivery=Delivery.UNKNOWN, detail="WhatsApp's answer was not understood")
    return SendResult(delivery=Delivery.SENT, provider_id=str(sent.id))


def _retry_after_s(error: WhatsAppError) -> float | None:
    given = "" if error.raw_response is None else error.raw_response.headers.get("retry-after", "")
    return float(given) if given.isascii() and given.isdigit() and len(given) < 9 else None
