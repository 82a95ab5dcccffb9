"""A kind of channel: what each process of a box takes of it. Each folder beside this file has one.

What is heavy is imported by the function that needs it, so that a process has only what it uses, and of channels that
are set up; a module named `kind` imports nothing that the gateway and the host do not have anyway.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from subclaw.core.channel import Channel, DeliveryReports, HeardLately, Intake, LastHeard
from subclaw.core.feed import ChatFeed
from subclaw.core.keeping import Keeping
from subclaw.core.mail_relay import MailRelay
from subclaw.core.signature import Signature
from subclaw.core.upstream import Upstream

if TYPE_CHECKING:
    from fastapi import APIRouter

Verify = Callable[[str, Mapping[str, object]], Awaitable[bool]]
"""Asks the gateway whether a webhook is signed: the name of the scheme, and what it needs. Errors: `Unavailable`."""


@dataclass(frozen=True, kw_only=True)
class Inside:
    """What a channel's routes are given. `public_url` is that of the control plane, without a slash at its end.

    By the gateway's socket a route may answer who has no conversation, once the provider's call is acknowledged.
    For the front page: the file with the operator's words, if there is one, and the channels that are set up.
    """

    intake: Intake
    feed: ChatFeed
    reports: DeliveryReports
    verify: Verify
    public_url: str
    title: str
    gateway_socket: Path
    front_file: Path | None = None
    channels: tuple[ChannelSetUp, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outside:
    """What a channel is given for its calls. All of them go by the gateway, whose socket this is.

    `public_url` is as above, and None if the world cannot reach this host by it; `intake` is for channels that fetch
    messages, and do not wait for them. `last_heard` is for those whose provider wants to know what is answered, or when
    the person wrote last; `heard_lately` for those that have to ask for what was said while nobody listened. `keeping`
    gives what the channel of a name keeps for itself.
    """

    gateway_socket: Path
    public_url: str | None
    intake: Intake
    last_heard: LastHeard
    heard_lately: HeardLately
    keeping: Callable[[str], Keeping]


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """An address of ours that a provider calls. `where` says where at the provider it is pasted."""

    path: str
    where: str


@dataclass(frozen=True, kw_only=True)
class ChannelSetUp:
    """A channel as the operator has set it up.

    `place` is where people write to, such as a phone number, and `label` how that is introduced. `signatures` are by
    the name of their scheme. By `relays` mail is sent. `routes` are the web process's, and so is `serve`, for what does
    not come by HTTP, until it is cancelled; `open` gives the way out for the life of the block, in the
    worker. `listen` fetches messages from a provider that does not call, until it is cancelled, in one worker of all.
    `check` makes a real call and says in words what came of it. Errors of `serve`, `listen`, `check`: `SubclawError`.
    """

    kind: ChannelKind
    place: str
    label: str
    upstreams: tuple[Upstream, ...] = ()
    signatures: Mapping[str, Signature] = field(default_factory=dict)
    relays: tuple[MailRelay, ...] = ()
    webhooks: tuple[Webhook, ...] = ()
    routes: Callable[[Inside], APIRouter] | None = None
    serve: Callable[[Inside], Awaitable[None]] | None = None
    open: Callable[[Outside], AbstractAsyncContextManager[Channel]] | None = None
    listen: Callable[[Outside], Awaitable[None]] | None = None
    check: Callable[[Outside], Awaitable[str]] | None = None


Read = Callable[[Mapping[str, str]], ChannelSetUp | None]
"""Takes what the operator set of a channel's `variables`; None if nothing. Errors: `Invalid`, in words for them."""


@dataclass(frozen=True, kw_only=True)
class ChannelKind:
    """A kind of channel.

    `name` is that of its addresses, `title` what people call it. It is set up by environment variables: `variables` in
    the clear, and `secrets`, with the names under which they are sealed. Replies that are `read_in_place` are not sent.
    A reply may have `reply_limit_characters`, all its parts together; None is no limit.
    """

    name: str
    title: str
    read: Read
    variables: tuple[str, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict)
    read_in_place: bool = False
    reply_limit_characters: int | None = None
