"""What the operator sets of Discord, and where things are."""

from dataclasses import dataclass

TOKEN = "discord.token"
CHANNEL = UPSTREAM = "discord"
GATEWAY_UPSTREAM = "discord-gateway"
FILES_UPSTREAM = "discord-files"


@dataclass(frozen=True, kw_only=True)
class DiscordSettings:
    """The operator's application, by its id. The Gateway's URL is one of http, which becomes a WebSocket there."""

    application: str
    base_url: str
    gateway_url: str
    files_url: str
