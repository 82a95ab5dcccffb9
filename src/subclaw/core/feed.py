"""A chat feed: one person's conversation as a chat page follows it, first what was said and then what is being said."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from subclaw.core.channel import Address
from subclaw.core.outgoing import OutgoingFile


@dataclass(frozen=True, kw_only=True)
class SaidByPerson:
    """A person's message. `provider_id` is that of `InboundMessage`, so that a page knows its own message again."""

    seq: int
    text: str
    at: datetime
    provider_id: str


@dataclass(frozen=True, kw_only=True)
class SaidByAgent:
    """The agent's reply, with files; the text is empty if there is nothing else."""

    seq: int
    text: str
    at: datetime
    files: tuple[OutgoingFile, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Typing:
    """Whether the agent is at work on this conversation."""

    on: bool


FeedItem = SaidByPerson | SaidByAgent | Typing


class ChatFeed(Protocol):
    """Where a chat page reads."""

    def follow(self, address: Address, after: int) -> AsyncGenerator[FeedItem, None]:
        """Yield what was said with a `seq` greater than `after`, in order, then one `Typing`, then whatever comes.

        `seq` grows within a conversation. The first `Typing` tells that the backlog is complete; later ones come at
        each change. An address that has said nothing yet has an empty backlog and is waited for. Closing the generator
        ends it. Errors: `Unavailable`, on which the page connects again after the last `seq` that it saw.
        """
        ...
