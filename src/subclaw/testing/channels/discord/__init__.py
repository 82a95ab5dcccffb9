"""A Discord of our own on loopback: the REST API, the Gateway with its sessions, and files.

It is strict where the real one is: the token, limits of length and of pace, nonces, intents, what a session may resume.
It misbehaves on demand: it refuses, asks to slow down, fails or falls silent before or after it took a message.
Source: https://discord.com/developers/docs/reference, https://discord.com/developers/docs/events/gateway.
"""

from subclaw.testing.channels.discord.conversations import private, public, written
from subclaw.testing.channels.discord.gateway import ask_to_reconnect, hang_up, say, until_connected
from subclaw.testing.channels.discord.sending import BODY_LIMIT_BYTES, NONCE_LIMIT, TEXT_LIMIT
from subclaw.testing.channels.discord.server import fake_discord
from subclaw.testing.channels.discord.state import Behaviour, FakeDiscord, Session, until

__all__ = [
    "BODY_LIMIT_BYTES",
    "NONCE_LIMIT",
    "TEXT_LIMIT",
    "Behaviour",
    "FakeDiscord",
    "Session",
    "ask_to_reconnect",
    "fake_discord",
    "hang_up",
    "private",
    "public",
    "say",
    "until",
    "until_connected",
    "written",
]
