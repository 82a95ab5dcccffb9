"""A channel: a way in which people reach their agents, and the ports between a channel and the rest.

A channel verifies what it is sent, hands it to `Intake`, and acknowledges only after that. Replies come back to it
through `Channel.send`, from the outbox.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from subclaw.core.tenant import TenantId


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a person is reached: a channel's name ("web", "sms") and the address there (a phone number, a hash)."""

    channel: str
    address: str


@dataclass(frozen=True, kw_only=True)
class InboundMessage:
    """A message as a channel received it.

    `provider_id` is the provider's own id of the message, unique in its channel: the same id twice is the same message.
    """

    sender: Address
    provider_id: str
    text: str
    received_at: datetime


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What became of an inbound message. `duplicate` means that it was stored before, and nothing happened now."""

    tenant_id: TenantId
    conversation_id: int
    duplicate: bool


class Intake(Protocol):
    """Where channels hand in messages."""

    async def receive(self, message: InboundMessage) -> Receipt:
        """Store the message and wake its conversation, in one transaction; a stranger's first one makes the tenant.

        Errors: `Invalid` for a text that is refused (empty, too long), with words for the sender; `Unavailable`.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class OutboundMessage:
    """A reply on its way out. `id` is the outbox row's, and the same at every try: an idempotency key."""

    id: int
    to: Address
    text: str


class Delivery(StrEnum):
    """What a channel knows after it tried to send.

    `REFUSED` is for good (the person opted out, say); after `FAILED` the message certainly did not go out and may be
    tried again; after `UNKNOWN` nobody can tell, so it may not.
    """

    SENT = "sent"
    REFUSED = "refused"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class SendResult:
    """The outcome of one try. `provider_id` is the provider's name for the message; `detail` says what went wrong."""

    delivery: Delivery
    provider_id: str | None = None
    detail: str = ""


class Channel(Protocol):
    """One channel's way out."""

    name: str

    async def send(self, message: OutboundMessage) -> SendResult:
        """Send a text. Never raises for what the provider says; `UNKNOWN` if it cannot be told whether it went out."""
        ...
