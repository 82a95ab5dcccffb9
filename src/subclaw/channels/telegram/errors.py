"""What Telegram's errors mean, in our words: Telegram's may quote what was to be sent.

Facts: https://core.telegram.org/bots/api#making-requests, https://core.telegram.org/bots/api#responseparameters.
"""

from aiogram.exceptions import (
    AiogramError,
    ClientDecodeError,
    TelegramAPIError,
    TelegramBadRequest,
    TelegramConflictError,
    TelegramEntityTooLarge,
    TelegramForbiddenError,
    TelegramNetworkError,
    TelegramNotFound,
    TelegramRetryAfter,
    TelegramServerError,
    TelegramUnauthorizedError,
)

from subclaw.core.channel import Delivery, SendResult, Trouble

_FORBIDDEN = {
    "blocked by the user": "this person has blocked the bot",
    "was kicked": "the bot was removed from the group",
    "user is deactivated": "this person's account is gone",
    "can't initiate conversation": "this person has not written to the bot",
    "not a member": "the bot is not in the group",
}
_BAD = {
    "chat not found": "there is no such chat, or the bot was never in it",
    "not enough rights": "the bot may not write in the group",
    "have no rights": "the bot may not write in the group",
    "group chat was deleted": "the group is gone",
}


def refused(error: AiogramError) -> SendResult:
    """Say what an error means. Only an answer below 500 says for sure that no message was made."""
    match error:
        case TelegramRetryAfter(retry_after=retry_after_s):
            return _failed("Telegram asks to slow down (HTTP 429)", Trouble.BUSY, float(retry_after_s))
        case TelegramForbiddenError(message=words):
            return _failed(f"{_meaning(_FORBIDDEN, words, 'the bot may not write there')} (HTTP 403)")
        case TelegramUnauthorizedError() | TelegramNotFound():
            return _failed("Telegram does not accept the bot's token", Trouble.ACCOUNT)
        case TelegramBadRequest(message=words):
            return _failed(f"{_meaning(_BAD, words, 'Telegram did not take the message')} (HTTP 400)")
        case TelegramEntityTooLarge():
            return _failed("the file is too large for Telegram", Trouble.FILE)
        case TelegramConflictError():
            return _failed("Telegram did not take the message")
        case TelegramServerError():
            return SendResult(delivery=Delivery.UNKNOWN, detail="Telegram failed while it was asked")
        case TelegramNetworkError():
            return SendResult(delivery=Delivery.UNKNOWN, detail="the connection to Telegram broke off")
        case ClientDecodeError():
            return SendResult(delivery=Delivery.UNKNOWN, detail="Telegram's answer was not understood")
        case TelegramAPIError():
            return _failed("Telegram did not take the message")
        case _:
            return SendResult(delivery=Delivery.UNKNOWN, detail="Telegram's library failed")


def _meaning(meanings: dict[str, str], words: str, else_: str) -> str:
    return next((meaning for part, meaning in meanings.items() if part in words), else_)


def _failed(detail: str, trouble: Trouble = Trouble.REFUSED, retry_after_s: float | None = None) -> SendResult:
    return SendResult(delivery=Delivery.FAILED, detail=detail, trouble=trouble, retry_after_s=retry_after_s)
