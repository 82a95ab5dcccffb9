"""What Twilio's errors and states mean, in our words: Twilio's hold phone numbers.

Facts: https://www.twilio.com/docs/api/errors, https://www.twilio.com/docs/messaging/api/message-resource#message-status-values.
"""

from collections.abc import Mapping

from subclaw.core.channel import Delivery, SendResult, Trouble

_TROUBLES: Mapping[int, tuple[Trouble, str]] = {
    14107: (Trouble.BUSY, "too many text messages go out at once"),
    20003: (Trouble.ACCOUNT, "Twilio does not accept the account's credentials"),
    20005: (Trouble.ACCOUNT, "the Twilio account is not active"),
    20429: (Trouble.BUSY, "Twilio asks to slow down"),
    21211: (Trouble.REFUSED, "Twilio says that this is not a phone number"),
    21408: (Trouble.REFUSED, "the account may not send to this region"),
    21606: (Trouble.REFUSED, "the sender number is not the account's, or cannot send text messages"),
    21608: (Trouble.REFUSED, "a trial account may text verified numbers only"),
    21610: (Trouble.REFUSED, "this person has opted out with STOP"),
    21611: (Trouble.BUSY, "too many text messages wait at Twilio for this sender number"),
    21612: (Trouble.REFUSED, "Twilio cannot reach this person from the sender number"),
    21620: (Trouble.FILE, "Twilio does not take the file's address"),
    21623: (Trouble.FILE, "Twilio does not take so many files"),
    21614: (Trouble.REFUSED, "this number cannot receive text messages"),
    30019: (Trouble.FILE, "the file is too large for the carrier"),
    12300: (Trouble.FILE, "Twilio does not take files of this type"),
    63038: (Trouble.ACCOUNT, "the account's text messages for today are used up"),
}
"""What keeps Twilio from taking a message."""

_LOSSES: Mapping[int, str] = {
    21610: "this person has opted out with STOP",
    30001: "Twilio's queue was too long",
    30002: "the Twilio account is suspended",
    30003: "the phone cannot be reached: it is off, out of coverage, or its number is not in use",
    30004: "the person or the carrier blocks these messages",
    30005: "the number is unknown, or no longer in use",
    30006: "this is a landline, or its carrier cannot be reached",
    30007: "Twilio or the carrier filtered the message as unwanted",
    30008: "the carrier did not say why",
    11200: "Twilio could not fetch the file from this host",
    12300: "Twilio does not take files of this type",
    30011: "the carrier does not take MMS",
    30019: "the file is too large for the carrier",
    30022: "the sender number sends faster than its registration allows",
    30023: "the sender number has used up what its registration allows in a day",
    30032: "the toll-free sender number is not verified",
    30034: "the sender number is not registered for texting in the US (A2P 10DLC)",
    30410: "the carrier did not answer Twilio in time",
    30485: "Twilio took the message for fraud",
}
"""What keeps a message that Twilio took from arriving."""

_OPTED_OUT = 21610

_STATES: Mapping[str, Delivery] = {
    "accepted": Delivery.SENT,
    "scheduled": Delivery.SENT,
    "queued": Delivery.SENT,
    "sending": Delivery.SENT,
    "sent": Delivery.SENT,
    "delivered": Delivery.DELIVERED,
    "read": Delivery.DELIVERED,
    "undelivered": Delivery.FAILED,
    "failed": Delivery.FAILED,
    "canceled": Delivery.FAILED,
}


def refused(status: object, code: object, retry_after_s: float | None = None) -> SendResult:
    """Say what a refusal by HTTP means. Only an answer below 500 says for sure that no message was made."""
    number = code if isinstance(code, int) else 0
    trouble, reason = _TROUBLES.get(number, (None, "Twilio did not take the message"))
    numbers = f"HTTP {status}" + (f", error {number}" if number else "")
    if not isinstance(status, int) or status == 408 or not 400 <= status < 500:
        return SendResult(delivery=Delivery.UNKNOWN, detail=f"{reason} ({numbers})")
    if trouble is None and status == 429:
        trouble, reason = _TROUBLES[20429]
    elif trouble is None:
        # What is wrong with the account, or with the way there, may be put right; what is wrong with a message is not.
        trouble = Trouble.ACCOUNT if status in (401, 402, 403, 404) else Trouble.REFUSED
    return SendResult(
        delivery=Delivery.FAILED,
        detail=f"{reason} ({numbers})",
        trouble=trouble,
        retry_after_s=retry_after_s,
        opted_out=is_opt_out(number),
    )


def delivery_of(state: str) -> Delivery | None:
    """Return what Twilio's state of an outbound message says, or None of one that says nothing."""
    return _STATES.get(state)


def is_opt_out(code: object) -> bool:
    """Say whether an error is that the person has opted out; `code` is a number or its digits."""
    return _number(code) == _OPTED_OUT


def loss(code: object) -> str:
    """Say why a message that Twilio took did not arrive; `code` is a number or its digits."""
    number = _number(code)
    reason = _LOSSES.get(number, "it did not arrive")
    return f"{reason} (error {number})" if number else reason


def _number(code: object) -> int:
    return int(code) if isinstance(code, int) or (isinstance(code, str) and code.isascii() and code.isdigit()) else 0
