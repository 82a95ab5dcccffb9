"""What the fake Discord knows, and how it is told to misbehave."""

import itertools
from collections import defaultdict, deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from aiohttp import web

from subclaw.testing.channels.lost_answers import LostAnswer
from subclaw.testing.channels.provider import FakeProvider, wait_until


class Behaviour(StrEnum):
    """How the fake answers one request to send."""

    ACCEPT = "accept"
    SLOW_DOWN = "slow down"
    NO_PRIVATE = "no private messages"
    NO_ACCESS = "no access"
    NO_PERMISSION = "no permission"
    NO_CHANNEL = "no channel"
    NO_FILE = "no such file"
    FAIL = "fail"
    FAIL_TAKEN = LostAnswer.FAIL
    HANG_TAKEN = LostAnswer.HANG
    DROP = LostAnswer.DROP
    BABBLE = LostAnswer.BABBLE


@dataclass(kw_only=True)
class Session:
    """A session of the Gateway: what it was told, and the connection that it has, if it has one."""

    id: str
    told: list[dict[str, Any]] = field(default_factory=list)
    socket: web.WebSocketResponse | None = None


@dataclass(kw_only=True)
class FakeDiscord(FakeProvider):
    """The state of the fake.

    `behaviours` holds for the messages that are to come, one each; after that it accepts. `channels` are by their id,
    `said` is what was said in each of them by anybody, and `sent` what the bot said. In a channel `pace` messages may
    be sent in `window_s`. `identified` and `resumed` are what the bot said of itself. `files` are by their path.
    """

    token: str
    bot_id: int = 900_000_000_000_000_001
    application_id: int = 900_000_000_000_000_002
    guild_id: int = 800_000_000_000_000_001
    gateway_url: str = ""
    files_url: str = ""
    behaviours: deque[Behaviour] = field(default_factory=deque)
    retry_after_s: float = 0.5
    pace: int = 5
    window_s: float = 0.2
    beat_ms: int = 41_250
    sessions_left: int = 1_000
    channels: dict[int, dict[str, Any]] = field(default_factory=dict)
    said: defaultdict[int, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    sent: list[dict[str, Any]] = field(default_factory=list)
    typed: list[int] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    refused_for_pace: int = 0
    times: defaultdict[int, deque[float]] = field(default_factory=lambda: defaultdict(deque))
    sessions: dict[str, Session] = field(default_factory=dict)
    connections: dict[web.WebSocketResponse, web.Request] = field(default_factory=dict)
    identified: list[dict[str, Any]] = field(default_factory=list)
    resumed: list[dict[str, Any]] = field(default_factory=list)
    beats: int = 0
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))


async def until(fake: FakeDiscord, count: int) -> list[str]:
    """Wait until so many messages are taken; return their texts."""
    await wait_until(fake, lambda: len(fake.sent) >= count)
    return [message["content"] for message in fake.sent]
