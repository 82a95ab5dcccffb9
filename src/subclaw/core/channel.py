"""A channel: a way in which people reach their agents, and the ports between a channel and the rest.

A channel verifies what it is sent, hands it to `Intake`, and acknowledges only after that. Replies come back to it
through `Channel.send`, from the outbox.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol, runtime_checkable

from subclaw.core.tenant import TenantId

ATTACHMENTS_LIMIT = 10
ATTACHMENTS_LIMIT_BYTES = 16 * 1024 * 1024
"""Most files that come with one message, and most bytes that they have together."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a person is reached: a channel's name ("web", "sms") and the address there (a phone number, a hash).

    A place where several people write (a group, a channel) has an address of its own, and so a conversation and a
    tenant of its own: nothing that somebody told their agent in private is known there. `thread` is where in it a
    message was said, and so where it is answered, as the channel names that; all its threads are one conversation.
    """

    channel: str
    address: str
    thread: str = field(default="", compare=False)


@dataclass(frozen=True, kw_only=True)
class Attachment:
    """A file that came with a message.

    `name`, `media_type` and `size_bytes` are what the sender's end says, and no more than that. The file is `content`,
    or what the channel fetches by `handle` (see `Fetches`) when a turn is about it: nothing is fetched before a message
    is acknowledged.
    """

    name: str
    media_type: str = ""
    size_bytes: int | None = None
    handle: str = ""
    content: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class InboundMessage:
    """A message as a channel received it.

    `sender` is where it came from and is answered: a person, or a place where several write; then `speaker` is what the
    person is called there, and the message is one that addresses the agent. `provider_id` is the provider's own id of
    the message, unique in its channel: the same id twice is the same message. With attachments the text may be empty.
    """

    sender: Address
    provider_id: str
    text: str
    received_at: datetime
    speaker: str = ""
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What became of an inbound message. `duplicate` means that it was taken before, and nothing happened now.

    Both ids are 0 if its sender is nobody's: a stranger who says STOP, or who is turned away and was told so before.
    """

    tenant_id: TenantId
    conversation_id: int
    duplicate: bool


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What somebody wrote last: the provider's id of the message, and when it was written."""

    provider_id: str
    at: datetime


LastHeard = Callable[[Address], Awaitable[Heard | None]]
"""Tells what was last heard from an address; None if nothing is known of it. Errors: `Unavailable`."""


HeardLately = Callable[[str, datetime, int], Awaitable[Sequence[tuple[Address, Heard]]]]
"""Tells where in a channel something was said since a time, so many places at most, and what was said last there.

Errors: `Unavailable`.
"""


class Intake(Protocol):
    """Where channels hand in messages."""

    async def receive(self, message: InboundMessage) -> Receipt:
        """Store the message and wake its conversation, in one transaction; a stranger's first one makes the tenant.

        Errors: `Invalid` for a text that is refused (empty, too long), with words for the sender; `Unavailable`.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class OutboundFile:
    """A file on its way out.

    `media_type` is what it is by its content. By `url` the provider or the person can have it, for some weeks; empty if
    the world cannot reach this host. The content is empty where a channel is only asked what became of it.
    """

    name: str
    media_type: str
    size_bytes: int
    content: bytes
    url: str = ""


@dataclass(frozen=True, kw_only=True)
class OutboundMessage:
    """A text on its way out, or a file with a text beside it, which is never empty: one part of a reply.

    `reply_id` is the outbox row's and `part` counts from 0; both are the same at every try.
    """

    tenant_id: TenantId
    reply_id: int
    part: int
    to: Address
    text: str
    file: OutboundFile | None = None


class Delivery(StrEnum):
    """What is known of a text that was to go out.

    The provider took it; it has arrived, as the provider says; it certainly did not go out, or did not arrive; nobody
    can tell.
    """

    SENT = "sent"
    DELIVERED = "delivered"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Trouble(StrEnum):
    """Why a text did not go out: it says when another try may help.

    The provider asks to slow down; it was not reached; it does not serve the operator's account, which somebody has to
    look at; it will never take this text for this person; it will never take this file, and may take a link to it.
    """

    BUSY = "busy"
    NETWORK = "network"
    ACCOUNT = "account"
    REFUSED = "refused"
    FILE = "file"


@dataclass(frozen=True, kw_only=True)
class SendResult:
    """The outcome of one try: `SENT`, `FAILED` or `UNKNOWN`.

    `provider_id` is the provider's name for the message; `detail` says what went wrong, without the person's address
    or words. `trouble` counts after `FAILED`; `retry_after_s` is when the provider wants to be tried again. With
    `opted_out` the provider says that this person does not want to be written to.
    """

    delivery: Delivery
    provider_id: str | None = None
    detail: str = ""
    trouble: Trouble = Trouble.REFUSED
    retry_after_s: float | None = None
    opted_out: bool = False


class Channel(Protocol):
    """One channel's way out.

    Replies are written in Markdown; a channel sends them in its own format, or as they are.
    """

    name: str

    def parts(self, text: str) -> Sequence[str]:
        """Cut a reply into the texts that are sent one after the other; none of them is empty.

        They are kept as they are, and formatted when they are sent: each is Markdown that stands alone.
        """
        ...

    async def send(self, message: OutboundMessage) -> SendResult:
        """Send a text. Never raises for what the provider says; `UNKNOWN` if it cannot be told whether it went out."""
        ...


@runtime_checkable
class SendsFiles(Protocol):
    """A channel that can send files. What it does not take, the person gets a link to."""

    def takes(self, to: Address, media_type: str, size_bytes: int) -> bool:
        """Say whether it may send such a file there. No I/O."""
        ...

    async def send_file(self, message: OutboundMessage, file: OutboundFile) -> SendResult:
        """Send the file of a message that has one, with the text as what is said of it; as `Channel.send` does."""
        ...


@runtime_checkable
class ShowsTyping(Protocol):
    """A channel that can show that the agent is at work."""

    async def typing(self, to: Address) -> None:
        """Show it for some seconds. Never raises for what the provider says: nothing depends on it."""
        ...


@runtime_checkable
class Fetches(Protocol):
    """A channel whose provider keeps the files that came with messages."""

    async def fetch(self, handle: str, limit_bytes: int) -> bytes:
        """Return a file.

        Errors: `Invalid` if it is larger, `NotFound` if the provider does not have it any more, in words for the
        person; `Unavailable` if it may be had later.
        """
        ...


@runtime_checkable
class ChargedBySegments(Protocol):
    """A channel whose provider charges by segments."""

    def segments(self, parts: Sequence[str]) -> int:
        """Return how many segments these texts are sent as."""
        ...


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The provider has the text: it was sent, is delivered, or failed on its way."""

    provider_id: str
    delivery: Delivery
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class NotSeen:
    """The provider was asked, and does not show the text, or not yet."""


@dataclass(frozen=True, kw_only=True)
class NotTold:
    """The provider could not be asked, or its answer leaves it open."""

    detail: str


Sighting = Seen | NotSeen | NotTold


@runtime_checkable
class Reconciles(Protocol):
    """A channel whose provider can be asked what it was given."""

    async def find(self, message: OutboundMessage, *, since: datetime, known: Collection[str]) -> Sighting:
        """Look for a text that may have gone out at `since` or later. Never raises for what the provider says.

        `known` are the provider's ids of other texts to this person, of which it is none.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class DeliveryReport:
    """A receipt: what a provider tells later of a text that it took. `delivery` is `SENT`, `DELIVERED` or `FAILED`.

    `opted_out` is as in `SendResult`.
    """

    tenant_id: TenantId
    reply_id: int
    part: int
    provider_id: str
    delivery: Delivery
    detail: str = ""
    opted_out: bool = False


class DeliveryReports(Protocol):
    """Where channels hand in receipts."""

    async def report(self, report: DeliveryReport) -> None:
        """Note a receipt; they may come in any order, and twice. Errors: `Unavailable`."""
        ...
