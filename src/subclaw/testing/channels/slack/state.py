"""What the fake Slack knows, and how it is told to misbehave."""

import itertools
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from subclaw.testing.channels.lost_answers import LostAnswer
from subclaw.testing.channels.provider import FakeProvider, wait_until

BOT = "U0BOT"
PERSON = "U0ANN"
TEAM = "T0HOME"
APP = "A0AGENTS"
SCOPES = "chat:write,app_mentions:read,im:history,mpim:history,channels:history,groups:history,files:read,files:write"


class Behaviour(StrEnum):
    """How the fake answers one call of a method."""

    ACCEPT = "accept"
    SLOW_DOWN = "slow down"
    FAIL = "fail"
    FAIL_TAKEN = LostAnswer.FAIL
    FATAL_TAKEN = "fatal, taken"
    """Take the message, and answer with an error that leaves open what was done."""
    HANG_TAKEN = LostAnswer.HANG
    DROP = LostAnswer.DROP
    BABBLE = LostAnswer.BABBLE
    NO_LAYOUT = "no layout"
    """What the Markdown becomes is too long."""


@dataclass(frozen=True, kw_only=True)
class TakenMessage:
    """A message that the fake took. `ts` is its name; `thread` that of the thread, or empty."""

    ts: str
    place: str
    text: str
    formatted: bool
    thread: str
    sent: Mapping[str, Any]
    file: "TakenFile | None" = None


@dataclass(kw_only=True)
class TakenFile:
    """A file that somebody asked to upload; it has its content once it is uploaded, its title once it is shown."""

    id: str
    name: str
    size_bytes: int
    title: str = ""
    content: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """One delivery of an event: which retry it was (0 is the first try), and the status that it was answered with.

    The status is 0 where there was no answer in time.
    """

    retry: int
    status: int
    text: str


@dataclass(kw_only=True)
class FakeSlack(FakeProvider):
    """The state of the fake.

    `behaviours` are by method, for the calls that are to come, one each; after that it accepts. `errors` are by place:
    what messages to it are answered with. `files` are by the path that their address has, `uploads` by their ids; what
    is asked for one is answered with `upload_error`, if there is one. Events are posted to
    `events_to`, again after each of `again_s` if they were not taken.
    """

    token: str
    signing_secret: str
    team: str = TEAM
    scopes: str = SCOPES
    behaviours: dict[str, deque[Behaviour]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    retry_after_s: int = 1
    messages: list[TakenMessage] = field(default_factory=list)
    statuses: list[tuple[str, str, str]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, TakenFile] = field(default_factory=dict)
    upload_error: str = ""
    upload_statuses: deque[int] = field(default_factory=deque)
    calls: list[str] = field(default_factory=list)
    events_to: str = ""
    again_s: tuple[float, ...] = (0.0, 0.05, 0.2)
    deliveries: list[Delivered] = field(default_factory=list)
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))


def behave(fake: FakeSlack, *behaviours: Behaviour, method: str = "chat.postMessage") -> None:
    """Have the next calls of a method answered so."""
    fake.behaviours.setdefault(method, deque()).extend(behaviours)


async def until(fake: FakeSlack, count: int) -> list[str]:
    """Wait until so many messages are taken; return their texts."""
    await wait_until(fake, lambda: len(fake.messages) >= count)
    return [message.text for message in fake.messages]
