"""SMS by Twilio: replies out, by Twilio's REST API, and asking it what it was given.

Facts: https://www.twilio.com/docs/messaging/api/message-resource.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

import aiohttp
from twilio.base.exceptions import TwilioException  # type: ignore[import-untyped]

from subclaw.channels.sms.errors import delivery_of, loss, refused
from subclaw.channels.sms.media import can_be_sent
from subclaw.channels.sms.segments import count_segments
from subclaw.channels.sms.twilio_client import TooManyRequests, Unsent
from subclaw.channels.sms.words import same_words, split_sms
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
from subclaw.core.errors import Unavailable

CLOCK_MARGIN = timedelta(minutes=5)
"""How far Twilio's clock and ours may be apart. It may be generous: what is known is left out by its id."""

Fetch = Callable[[str, int], Awaitable[bytes]]
"""Gets a file by its handle, of at most so many bytes; see `core.channel.Fetches`."""

LIST_LIMIT = 300
_PAGE = 100
_NOT_ASKED = (TwilioException, TooManyRequests, Unsent, aiohttp.ClientError, TimeoutError, OSError, ValueError)
"""What a question to Twilio may end in."""


class SmsChannel:
    """The way out by SMS.

    `client` is Twilio's (see `twilio_client`), `from_number` one of the account's (E.164). Receipts are asked for at
    `status_url`, if there is one; tenant, reply and part are appended to it. `fetch` gets files by their handles.
    """

    name = "sms"

    def __init__(
        self, *, client: Any, from_number: str, status_url: str | None = None, fetch: Fetch | None = None
    ) -> None:
        self._client = client
        self._from_number = from_number
        self._status_url = status_url
        self._fetch = fetch

    def parts(self, text: str) -> Sequence[str]:
        """Cut a reply into text messages."""
        return split_sms(text)

    def segments(self, parts: Sequence[str]) -> int:
        """Return how many segments these texts are sent as."""
        return sum(map(count_segments, parts))

    async def send(self, message: OutboundMessage) -> SendResult:
        """Send one text message.

        `FAILED` means that it certainly did not go out. Twilio has no idempotency key, so whatever breaks off after the
        request was written is `UNKNOWN`; see `find`.
        """
        return await self._send(message)

    def takes(self, to: Address, media_type: str, size_bytes: int) -> bool:
        """Say whether Twilio can bring such a file: it fetches it from us, so the world must reach this host."""
        return self._status_url is not None and can_be_sent(self._from_number, to.address, media_type, size_bytes)

    async def send_file(self, message: OutboundMessage, file: OutboundFile) -> SendResult:
        """Send a file as an MMS, with its title as the text: by that it is found again, as a text message is."""
        return await self._send(message, media_url=[file.url])

    async def fetch(self, handle: str, limit_bytes: int) -> bytes:
        """Return a file that came with a message."""
        if self._fetch is None:
            raise Unavailable("Files of text messages cannot be had.")
        return await self._fetch(handle, limit_bytes)

    async def _send(self, message: OutboundMessage, **more: object) -> SendResult:
        if self._status_url:
            name = f"{message.tenant_id}/{message.reply_id}/{message.part}"
            more["status_callback"] = f"{self._status_url}/{name}"
        try:
            # Smart encoding lets Twilio write a curly quote as a straight one: one of them would double the price.
            created = await self._client.messages.create_async(
                to=message.to.address, from_=self._from_number, body=message.text, smart_encoded=True, **more
            )
            return SendResult(delivery=Delivery.SENT, provider_id=str(created.sid))
        except TooManyRequests as error:
            return refused(429, error.code, error.retry_after_s)
        except TwilioException as error:
            return refused(getattr(error, "status", None), getattr(error, "code", None))
        except (Unsent, aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            return SendResult(delivery=Delivery.FAILED, detail="no connection to Twilio", trouble=Trouble.NETWORK)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return SendResult(delivery=Delivery.UNKNOWN, detail="the connection to Twilio broke off")
        except ValueError:
            return SendResult(delivery=Delivery.UNKNOWN, detail="Twilio's answer was not understood")

    async def find(self, message: OutboundMessage, *, since: datetime, known: Collection[str]) -> Sighting:
        """Look for a text in Twilio's list of messages to this person: by its words, and the time it was made.

        The list is not narrowed by `DateSent`: what still waits at Twilio has none.
        """
        try:
            listed = await self._client.messages.list_async(
                to=message.to.address, from_=self._from_number, limit=LIST_LIMIT, page_size=_PAGE
            )
        except _NOT_ASKED:
            return NotTold(detail="Twilio cannot be asked what it was given")
        recent = [one for one in listed if one.date_created and one.date_created >= since - CLOCK_MARGIN]
        for one in reversed(recent):  # the oldest first
            if one.sid not in known and one.direction == "outbound-api" and _is_that(message, one):
                delivery = delivery_of(str(one.status)) or Delivery.SENT
                detail = loss(one.error_code) if delivery is Delivery.FAILED else ""
                return Seen(provider_id=str(one.sid), delivery=delivery, detail=detail)
        if len(recent) == LIST_LIMIT:
            return NotTold(detail="Twilio has too many messages to this person to look through")
        return NotSeen()

    async def check(self) -> str:
        """Ask Twilio about the number, and say in words what it answered. Errors: `Unavailable`."""
        try:
            listed = await self._client.incoming_phone_numbers.list_async(phone_number=self._from_number, limit=1)
        except _NOT_ASKED as error:
            words = "Twilio cannot be asked, or does not accept the account's credentials."
            raise Unavailable(words, internal=type(error).__name__) from None
        if not listed:
            raise Unavailable(f"Twilio's account has no number {self._from_number}.")
        return f"Twilio's account has the number; its messages go to {listed[0].sms_url or 'no address'}"


def _is_that(message: OutboundMessage, listed: Any) -> bool:
    """Say whether what Twilio lists can be a message: the same words, with a file if it has one."""
    has_file = str(listed.num_media or "0") != "0"
    return has_file == (message.file is not None) and same_words(message.text, listed.body or "")
