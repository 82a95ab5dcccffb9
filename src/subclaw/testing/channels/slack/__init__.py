"""A Slack of our own on loopback: its Web API, its files, and events that are delivered as often as Slack does.

It is strict where the real one is: tokens, places that the bot is not in, texts that are too long. It misbehaves on
demand: it asks to slow down, fails or falls silent before or after it took a message. Slack gives an event up after the
third try; so does this.
Source: https://docs.slack.dev/reference/methods, https://docs.slack.dev/apis/events-api.
"""

from subclaw.testing.channels.slack.events import EVENT_LIMIT_S, envelope, post, say, written
from subclaw.testing.channels.slack.files import FILE_LIMIT_BYTES
from subclaw.testing.channels.slack.messages import MARKDOWN_LIMIT, TEXT_LIMIT
from subclaw.testing.channels.slack.server import fake_slack
from subclaw.testing.channels.slack.state import (
    APP,
    BOT,
    PERSON,
    SCOPES,
    TEAM,
    Behaviour,
    Delivered,
    FakeSlack,
    TakenFile,
    TakenMessage,
    behave,
    until,
)

__all__ = [
    "APP",
    "BOT",
    "EVENT_LIMIT_S",
    "FILE_LIMIT_BYTES",
    "MARKDOWN_LIMIT",
    "PERSON",
    "SCOPES",
    "TEAM",
    "TEXT_LIMIT",
    "Behaviour",
    "Delivered",
    "FakeSlack",
    "TakenFile",
    "TakenMessage",
    "behave",
    "envelope",
    "fake_slack",
    "post",
    "say",
    "until",
    "written",
]
