"""What Discord's errors mean."""

import aiohttp
import discord
import pytest

from subclaw.channels.discord.errors import meaning, not_asked, refused
from subclaw.core.channel import Delivery, Trouble


@pytest.mark.parametrize(
    ("error", "delivery", "trouble"),
    [
        (discord.RateLimited(2.5), Delivery.FAILED, Trouble.BUSY),
        (discord.LoginFailure("x"), Delivery.FAILED, Trouble.ACCOUNT),
        (TimeoutError(), Delivery.UNKNOWN, Trouble.REFUSED),
        (aiohttp.ServerDisconnectedError(), Delivery.UNKNOWN, Trouble.REFUSED),
        (discord.InvalidData("private"), Delivery.UNKNOWN, Trouble.REFUSED),
    ],
)
def test_what_is_known_after_an_error(error: Exception, delivery: Delivery, trouble: Trouble) -> None:
    result = refused(error)
    assert (result.delivery, result.trouble) == (delivery, trouble)
    assert "private" not in result.detail


def test_what_failed_before_it_was_asked_did_not_go_out() -> None:
    assert not_asked(TimeoutError()).trouble is Trouble.NETWORK
    assert not_asked(TimeoutError()).delivery is Delivery.FAILED
    assert not_asked(discord.RateLimited(2.5)).retry_after_s == 2.5


def test_why_a_connection_cannot_be() -> None:
    assert "its intents" in meaning(discord.PrivilegedIntentsRequired(None))
    assert meaning(discord.RateLimited(1.0)) == "Discord asks to slow down"
