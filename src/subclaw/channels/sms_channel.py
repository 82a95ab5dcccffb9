"""SMS by Twilio: replies out, by Twilio's REST API.

Facts: https://www.twilio.com/docs/messaging/api/message-resource, https://www.twilio.com/docs/api/errors.
"""

from typing import Any

import aiohttp
from twilio.base.exceptions import TwilioException  # type: ignore[import-untyped]

from subclaw.channels.sms_text import split_text
from subclaw.core.channel import Delivery, OutboundMessage, SendResult

_REASONS = {
    20003: "Twilio does not accept the account's credentials",
    20429: "Twilio asks to slow down",
    21211: "Twilio says that this is not a phone number",
    21408: "the account may not send to this region",
    21606: "the sender number is not the account's",
    21610: "this person has opted out with STOP",
    21614: "this number cannot receive text messages",
}
"""In our words: Twilio's hold phone numbers."""


class SmsChannel:
    """The way out by SMS. `client` is Twilio's (see `twilio_client`), `from_number` one of the account's (E.164)."""

    name = "sms"

    def __init__(self, *, client: Any, from_number: str) -> None:
        self._client = client
        self._from_number = from_number

    async def send(self, message: OutboundMessage) -> SendResult:
        """Send a text in as many parts as it takes, each once, in order, until one fails.

        `FAILED` and `REFUSED` mean that nothing of it went out. If a part fails after others were sent, the result is
        `UNKNOWN`, since sending the message again would double those; `detail` and `provider_id` say which were sent.
        Twilio has no idempotency key, so whatever breaks off after the request was written is `UNKNOWN` too.
        """
        parts = split_text(message.text)
        sent: list[str] = []
        for part in parts:
            result = await self._send_part(message.to.address, part)
            if result.delivery is not Delivery.SENT:
                return _ended(result, sent, len(parts))
            sent.append(result.provider_id or "")
        if not sent:
            return SendResult(delivery=Delivery.FAILED, detail="there was no text to send")
        return SendResult(delivery=Delivery.SENT, provider_id=",".join(sent))

    async def _send_part(self, to: str, text: str) -> SendResult:
        try:
            # Smart encoding lets Twilio write a curly quote as a straight one: one of them would double the price.
            created = await self._client.messages.create_async(
                to=to, from_=self._from_number, body=text, smart_encoded=True
            )
            return SendResult(delivery=Delivery.SENT, provider_id=str(created.sid))
        except TwilioException as error:
            return _refused(getattr(error, "status", None), getattr(error, "code", None))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            return SendResult(delivery=Delivery.FAILED, detail="no connection to Twilio")
        except (aiohttp.ClientError, TimeoutError, OSError):
            return SendResult(delivery=Delivery.UNKNOWN, detail="the connection to Twilio broke off")
        except ValueError:
            return SendResult(delivery=Delivery.UNKNOWN, detail="Twilio's answer was not understood")


def _refused(status: object, code: object) -> SendResult:
    """Say what a refusal by HTTP means. Only an answer below 500 says for sure that no message was made.

    The account's trouble (credentials, too much at once) may pass, so it is worth another try; the message's does not.
    """
    match status:
        case 401 | 429:
            delivery = Delivery.FAILED
        case int() if 400 <= status < 500 and status != 408:
            delivery = Delivery.REFUSED
        case _:
            delivery = Delivery.UNKNOWN
    reason = _REASONS.get(code if isinstance(code, int) else 0)
    if reason is None:
        reason = _REASONS[20429] if status == 429 else "Twilio did not take the message"
    numbers = f"HTTP {status}" + (f", error {code}" if isinstance(code, int) else "")
    return SendResult(delivery=delivery, detail=f"{reason} ({numbers})")


def _ended(result: SendResult, sent: list[str], parts: int) -> SendResult:
    """Say how far a message came."""
    if parts == 1:
        return result
    detail = f"{len(sent)} of {parts} parts were sent; then: {result.detail}"
    delivery = Delivery.UNKNOWN if sent else result.delivery
    return SendResult(delivery=delivery, provider_id=",".join(sent) or None, detail=detail)
