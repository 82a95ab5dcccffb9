"""What BlueBubbles' errors mean, in our words: its own may quote what was to be sent.

Facts: https://documenter.getpostman.com/view/765844/UV5RnfwM; the codes are Apple's, which documents none: those that
BlueBubbles' people have found (https://docs.bluebubbles.app/server/troubleshooting-guides).
"""

from collections.abc import Mapping
from typing import Any

from subclaw.channels.imessage.server import Answer
from subclaw.core.channel import Delivery, SendResult, Trouble

_LOSSES: Mapping[int, str] = {
    4: "the message timed out: the Mac may have no network",
    22: "there is no iMessage at this address",
    43: "this address has no iMessage just now",
}
_IN_QUEUE = "already queued"


def refused(answer: Answer) -> SendResult:
    """Say what a refusal to send means. Only one below 500, or with a number of Apple's, says so for sure."""
    error = answer.body.get("error")
    words = str(error.get("message") or error.get("error") or "") if isinstance(error, dict) else ""
    number = loss_of(answer.data if isinstance(answer.data, dict) else {})
    match answer.status:
        case 401 | 403:
            return _failed("BlueBubbles does not accept the password", answer, Trouble.ACCOUNT)
        case 429:
            return _failed("BlueBubbles asks to slow down", answer, Trouble.BUSY)
        case 400 if _IN_QUEUE in words:
            return SendResult(delivery=Delivery.UNKNOWN, detail="the Mac is still sending it")
        case status if number and status >= 400:
            return _failed(loss(number), answer)
        case 404:
            return _failed("the Mac has no such chat", answer)
        case status if 400 <= status < 500 and status != 408:
            return _failed("BlueBubbles did not take the message", answer)
    return SendResult(delivery=Delivery.UNKNOWN, detail=f"BlueBubbles failed while it sent (HTTP {answer.status})")


def loss_of(message: Mapping[str, Any]) -> int:
    """Return the number that a message has if it did not go out; 0 if there is none."""
    number = message.get("error")
    return number if isinstance(number, int) and not isinstance(number, bool) else 0


def loss(number: int) -> str:
    """Say why a message did not go out."""
    return f"{_LOSSES.get(number, 'the Mac could not send it')} (error {number})"


def _failed(reason: str, answer: Answer, trouble: Trouble = Trouble.REFUSED) -> SendResult:
    return SendResult(delivery=Delivery.FAILED, detail=f"{reason} (HTTP {answer.status})", trouble=trouble)
