"""What Discord's errors mean, in our words: Discord's may quote what was to be sent.

Facts: https://discord.com/developers/docs/topics/opcodes-and-status-codes.
"""

import aiohttp
import discord

from subclaw.core.channel import Delivery, SendResult, Trouble
from subclaw.egress.refusal import UNSENT_HEADER

ERRORS = (discord.DiscordException, aiohttp.ClientError, TimeoutError, OSError)
"""What a call of discord.py's may raise."""

MAY_NOT = 50013
_CODES = {
    10003: "there is no such channel, or the bot was never in it",
    50001: "the bot has no access to the channel",
    50007: "this person takes no messages of the bot's",
    MAY_NOT: "the bot may not write in the channel",
    50035: "Discord did not take the message",
    50083: "the thread is closed",
    50278: "this person has no server in common with the bot any more",
}

_NO_FILES = {
    20009: "Discord does not take such a file",
    40005: "the file is too large for Discord",
    50045: "the file is too large for Discord",
}
"""What Discord says of a file that it does not take."""

_CLOSED = {
    4004: "Discord does not accept the bot's token",
    4011: "the bot is in more servers than one connection serves",
    4014: "Discord does not allow the bot what it asks for: its intents",
}
"""What Discord says when it ends a connection for good."""


def refused(error: Exception) -> SendResult:
    """Say what an error means. Only an answer below 500, and a call that did not go out, leave nothing open."""
    match error:
        case discord.RateLimited(retry_after=retry_after_s):
            detail = "Discord asks to slow down (HTTP 429)"
            return _failed(detail, Trouble.BUSY, retry_after_s)
        case discord.LoginFailure() | discord.HTTPException(status=401):
            return _failed(meaning(error), Trouble.ACCOUNT)
        case discord.HTTPException(status=status) if status < 500:
            return _failed(meaning(error))
        case discord.HTTPException(response=response) if UNSENT_HEADER in response.headers:
            return _failed("no connection to Discord", Trouble.NETWORK)
        case aiohttp.ClientConnectorError():
            return _failed("the egress gateway does not run", Trouble.NETWORK)
        case _:
            return SendResult(delivery=Delivery.UNKNOWN, detail=meaning(error))


def refused_file(error: Exception) -> SendResult:
    """Say what an error means for a file. Where the bot may write, it need not be allowed to attach something."""
    match error:
        case discord.HTTPException(code=code) if code in _NO_FILES or code == MAY_NOT:
            return _failed(meaning(error), Trouble.FILE)
    return refused(error)


def not_asked(error: Exception) -> SendResult:
    """Say what an error means that came before Discord was asked to take a message."""
    result = refused(error)
    return result if result.delivery is Delivery.FAILED else _failed(result.detail, Trouble.NETWORK)


def meaning(error: Exception) -> str:
    """Return what an error means in words."""
    match error:
        case discord.LoginFailure() | discord.HTTPException(status=401):
            return "Discord does not accept the bot's token"
        case discord.HTTPException(status=status, response=response) if status >= 500:
            return "no connection to Discord" if UNSENT_HEADER in response.headers else "Discord failed while asked"
        case discord.HTTPException(status=status, code=code):
            return f"{(_CODES | _NO_FILES).get(code, 'Discord did not take the message')} (HTTP {status}, code {code})"
        case discord.PrivilegedIntentsRequired():
            return _CLOSED[4014]
        case discord.ConnectionClosed(code=code):
            return _CLOSED.get(code, f"Discord ended the connection (code {code})")
        case discord.RateLimited():
            return "Discord asks to slow down"
        case discord.DiscordException():
            return "Discord's library failed"
        case _:
            return "the connection to Discord broke off"


def _failed(detail: str, trouble: Trouble = Trouble.REFUSED, retry_after_s: float | None = None) -> SendResult:
    return SendResult(delivery=Delivery.FAILED, detail=detail, trouble=trouble, retry_after_s=retry_after_s)
