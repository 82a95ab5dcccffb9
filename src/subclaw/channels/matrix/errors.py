"""What a homeserver's errors mean, in our words: its own may quote what was to be sent.

Facts: https://spec.matrix.org/v1.16/client-server-api/#standard-error-response.
"""

from subclaw.channels.matrix.client import RefusedByServer
from subclaw.core.channel import Delivery, SendResult, Trouble

_ACCOUNT = {
    "M_UNKNOWN_TOKEN": "the homeserver does not accept the access token",
    "M_MISSING_TOKEN": "the homeserver does not accept the access token",
    "M_USER_DEACTIVATED": "the account is deactivated",
    "M_USER_SUSPENDED": "the account is suspended",
    "M_USER_LOCKED": "the account is locked",
    "M_CONSENT_NOT_GIVEN": "the account has not consented to the homeserver's terms",
}
_REFUSED = {
    "M_FORBIDDEN": "the account may not write in this room, or is not in it",
    "M_NOT_FOUND": "there is no such room",
    "M_TOO_LARGE": "the message is too long",
}


def refused(error: RefusedByServer) -> SendResult:
    """Say what a refusal to send means. Only an answer below 500 says for sure that nothing was sent."""
    if error.code == "M_LIMIT_EXCEEDED" or error.status == 429:
        return _failed("the homeserver asks to slow down", error, Trouble.BUSY)
    if error.code in _ACCOUNT or error.status == 401:
        return _failed(_ACCOUNT.get(error.code, _ACCOUNT["M_UNKNOWN_TOKEN"]), error, Trouble.ACCOUNT)
    if 400 <= error.status < 500 and error.status != 408:
        return _failed(_REFUSED.get(error.code, "the homeserver did not take the message"), error, Trouble.REFUSED)
    return SendResult(delivery=Delivery.UNKNOWN, detail=f"the homeserver failed while it was asked ({error.status})")


def _failed(reason: str, error: RefusedByServer, trouble: Trouble) -> SendResult:
    detail = f"{reason} (HTTP {error.status})"
    return SendResult(delivery=Delivery.FAILED, detail=detail, trouble=trouble, retry_after_s=error.retry_after_s)
