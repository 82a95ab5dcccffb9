"""What WhatsApp's errors and states mean, in our words: Meta's may quote what was to be sent.

Facts: https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes. Meta advises to go
by the codes and not by the status of HTTP: some that say that nothing was sent come with 500.
"""

from collections.abc import Mapping

from subclaw.core.channel import Delivery, SendResult, Trouble

PAIR_LIMIT_S = 6.0
"""How often one person may be sent a message, after a burst of some fifty."""

_LATER = "WhatsApp cannot serve just now"
_TOKEN = "WhatsApp does not accept the access token: it has expired, or was taken back"
_PERMISSION = "the access token has no permission to send from this number"
_ACCOUNT = "the WhatsApp account is restricted or locked: see WhatsApp Manager"
_TEMPLATE = "the template that WHATSAPP_TEMPLATE names cannot be sent: see WhatsApp Manager"

_MEANINGS: Mapping[int, tuple[Trouble, str]] = {
    0: (Trouble.ACCOUNT, _TOKEN),
    1: (Trouble.BUSY, _LATER),
    2: (Trouble.BUSY, _LATER),
    3: (Trouble.ACCOUNT, _PERMISSION),
    4: (Trouble.BUSY, "the app's calls of this hour are used up"),
    10: (Trouble.ACCOUNT, _PERMISSION),
    33: (Trouble.ACCOUNT, "WhatsApp does not know the number that WHATSAPP_PHONE_NUMBER_ID names"),
    190: (Trouble.ACCOUNT, _TOKEN),
    368: (Trouble.ACCOUNT, _ACCOUNT),
    80007: (Trouble.BUSY, "the WhatsApp account's calls of this hour are used up"),
    130429: (Trouble.BUSY, "too many messages go out at once"),
    130472: (Trouble.REFUSED, "WhatsApp leaves this person out for an experiment"),
    130497: (Trouble.REFUSED, "the WhatsApp account may not write to this person's country"),
    131000: (Trouble.BUSY, _LATER),
    131005: (Trouble.ACCOUNT, _PERMISSION),
    131016: (Trouble.BUSY, _LATER),
    131021: (Trouble.REFUSED, "this is the sender's own number"),
    131026: (Trouble.REFUSED, "this person cannot be reached: no WhatsApp, an old one, or the number is blocked"),
    131030: (Trouble.REFUSED, "a test number may write to the listed numbers only"),
    131031: (Trouble.ACCOUNT, _ACCOUNT),
    131037: (Trouble.ACCOUNT, "the number's display name is not approved: see WhatsApp Manager"),
    131042: (Trouble.ACCOUNT, "the WhatsApp account's way of paying does not work"),
    131045: (Trouble.ACCOUNT, "the number is not registered with the Cloud API"),
    131047: (Trouble.REFUSED, "this person has not written for 24 hours"),
    131048: (Trouble.ACCOUNT, "WhatsApp slows the number down, since people blocked it or called it spam"),
    131049: (Trouble.REFUSED, "WhatsApp keeps this person from having too many such messages"),
    131050: (Trouble.REFUSED, "this person has stopped such messages"),
    131053: (Trouble.FILE, "WhatsApp does not take this file"),
    131056: (Trouble.BUSY, "too many messages went to this person at once"),
    131057: (Trouble.BUSY, "the WhatsApp account is being worked on by Meta"),
    132000: (Trouble.REFUSED, _TEMPLATE),
    132001: (Trouble.REFUSED, _TEMPLATE),
    132005: (Trouble.REFUSED, _TEMPLATE),
    132007: (Trouble.REFUSED, _TEMPLATE),
    132012: (Trouble.REFUSED, _TEMPLATE),
    132015: (Trouble.REFUSED, _TEMPLATE),
    132016: (Trouble.REFUSED, _TEMPLATE),
    132018: (Trouble.REFUSED, _TEMPLATE),
    133004: (Trouble.BUSY, _LATER),
    133010: (Trouble.ACCOUNT, "the number is not registered with the Cloud API"),
    134011: (Trouble.ACCOUNT, "the WhatsApp account has not accepted Meta's terms"),
}
_PAIR_LIMIT = 131056

_STATES: Mapping[str, Delivery] = {
    "sent": Delivery.SENT,
    "delivered": Delivery.DELIVERED,
    "read": Delivery.DELIVERED,
    "played": Delivery.DELIVERED,
    "failed": Delivery.FAILED,
}


def refused(status: int | None, code: int, retry_after_s: float | None = None) -> SendResult:
    """Say what a refusal means. Only a known code, or a status below 500, says for sure that nothing was sent."""
    trouble, reason = _meaning(code)
    detail = f"{reason or 'WhatsApp did not take the message'} (HTTP {status}, error {code})"
    if trouble is None and (status is None or status == 408 or not 400 <= status < 500):
        return SendResult(delivery=Delivery.UNKNOWN, detail=detail)
    if trouble is None:
        trouble = {401: Trouble.ACCOUNT, 403: Trouble.ACCOUNT, 429: Trouble.BUSY}.get(status or 0, Trouble.REFUSED)
    if code == _PAIR_LIMIT:
        retry_after_s = max(retry_after_s or 0, PAIR_LIMIT_S)
    return SendResult(delivery=Delivery.FAILED, detail=detail, trouble=trouble, retry_after_s=retry_after_s)


def delivery_of(state: str) -> Delivery | None:
    """Return what WhatsApp's state of a message says, or None of one that says nothing."""
    return _STATES.get(state)


def loss(code: object) -> str:
    """Say why a message that WhatsApp took did not arrive."""
    number = code if isinstance(code, int) and not isinstance(code, bool) else 0
    reason = _meaning(number)[1] if number else ""
    return f"{reason or 'it did not arrive'} (error {number})" if number else "it did not arrive"


def _meaning(code: int) -> tuple[Trouble | None, str]:
    if 200 <= code < 300:
        return Trouble.ACCOUNT, _PERMISSION
    return _MEANINGS.get(code, (None, ""))
