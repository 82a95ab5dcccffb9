"""What the operator sets of Discord."""

import pytest

from subclaw.channels.discord.kind import DISCORD, read_discord
from subclaw.core.errors import Invalid
from subclaw.core.upstream import Injection
from subclaw.egress.control.destination import destination

APPLICATION = "123456789012345678"


def test_what_is_not_set_up() -> None:
    assert read_discord({}) is None


def test_what_is_set_up() -> None:
    set_up = read_discord({"DISCORD_APPLICATION_ID": APPLICATION})
    assert set_up is not None
    assert set_up.place == f"https://discord.com/oauth2/authorize?client_id={APPLICATION}"
    calls, gateway, files = set_up.upstreams
    assert (calls.base_url, calls.scheme, calls.secret) == ("https://discord.com/api/v10", "Bot", "discord.token")
    assert (gateway.base_url, gateway.injection) == ("https://gateway.discord.gg", Injection.MESSAGE)
    assert (files.base_url, files.secret) == ("https://cdn.discordapp.com", None)
    assert [destination(upstream).port for upstream in set_up.upstreams] == [443] * 3
    assert set_up.webhooks == ()
    assert DISCORD.secrets == {"DISCORD_BOT_TOKEN": "discord.token"}


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"DISCORD_APPLICATION_ID": "my-bot"}, "DISCORD_APPLICATION_ID"),
        ({"DISCORD_APPLICATION_ID": "1234"}, "DISCORD_APPLICATION_ID"),
        ({"DISCORD_APPLICATION_ID": APPLICATION, "DISCORD_BASE_URL": "discord.com"}, "DISCORD_BASE_URL"),
        ({"DISCORD_APPLICATION_ID": APPLICATION, "DISCORD_GATEWAY_URL": "wss://g"}, "DISCORD_GATEWAY_URL"),
    ],
)
def test_what_cannot_be(given: dict[str, str], name: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_discord(given)
    assert name in caught.value.public
