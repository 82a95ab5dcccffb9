"""What the API answers, as values. The fields are described in its document, `/v1/openapi.json`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class Agent:
    """An agent, and which version of it customers get."""

    id: str
    version: int
    canary: int | None
    canary_share: int
    changed_at: datetime


@dataclass(frozen=True, kw_only=True)
class Session:
    """A customer's session with an agent."""

    id: str
    agent: str
    version: int
    customer: str
    channel: str = "api"
    opened_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Token:
    """A session token, for a browser."""

    token: str = field(repr=False)
    session: str
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class Link:
    """Where a customer connects an account at a provider, in their own browser, once."""

    provider: str
    url: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class Account:
    """An account that a customer has connected; one that `is_lost` has to be connected anew."""

    provider: str
    connected_at: datetime
    is_lost: bool


@dataclass(frozen=True, kw_only=True)
class File:
    """A file that came with a reply; `path` is on the API's host."""

    title: str
    path: str
    media_type: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened in a session. Which fields there are goes by `type`.

    The types are message, reply, turn.started, turn.finished, step, approval.requested and approval.closed.
    """

    id: int
    type: str
    at: datetime
    text: str | None = None
    message: str | None = None
    files: tuple[File, ...] = ()
    call: str | None = None
    state: str | None = None
    tool: str | None = None
    approval: str | None = None
    expires_at: datetime | None = None
    outcome: str | None = None


@dataclass(frozen=True, kw_only=True)
class Delta:
    """More of the reply that is being said, after what was said before. What counts is the reply's event."""

    turn: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Reset:
    """What deltas of a turn said does not count. `why` is tools if the agent uses its tools first, else again."""

    turn: int
    why: str


Part = Event | Delta | Reset
"""What a stream of an answer is made of."""


@dataclass(frozen=True, kw_only=True)
class Approval:
    """A call that waits for somebody's yes; `arguments` (JSON) are there if it was asked for by itself."""

    id: int
    agent: str
    customer: str
    session: str
    approval: str
    tool: str
    state: str
    requested_at: datetime
    expires_at: datetime
    closed_at: datetime | None = None
    arguments: str | None = None


@dataclass(frozen=True, kw_only=True)
class ScheduleSet:
    """Something that was set for later, and when it is due first."""

    id: int
    due_at: datetime


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Something that is set for later."""

    id: int
    agent: str
    customer: str
    mode: str
    state: str
    due_at: datetime
    time_zone: str
    repeat: str
    times: int
    missed: int


@dataclass(frozen=True, kw_only=True)
class Customer:
    """A customer: `id` is the number here, `customer` your own id."""

    id: int
    agent: str
    customer: str
    since: datetime
    is_suspended: bool
    sessions: int


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What was removed of a customer, signed."""

    id: str
    agent: str
    customer_sha256: str
    erased_at: str
    rows: Mapping[str, int]
    machine: bool
    files: int
    key: str
    signature: str


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where webhooks go; the `secret` is there only when it is made."""

    id: str
    url: str
    events: tuple[str, ...]
    agent: str | None
    created_at: datetime
    failing_since: datetime | None = None
    disabled_at: datetime | None = None
    disabled_because: str = ""
    secret: str | None = field(default=None, repr=False)
