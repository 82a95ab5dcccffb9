"""An intake and a chat feed in memory, so that a channel can be tried for real with nothing behind it."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from subclaw.core.channel import Address, InboundMessage, Receipt
from subclaw.core.errors import Unavailable
from subclaw.core.feed import FeedItem, SaidByAgent, SaidByPerson, Typing
from subclaw.core.message import clean_text
from subclaw.core.outgoing import OutgoingFile
from subclaw.core.tenant import TenantId


@dataclass(kw_only=True)
class _Conversation:
    id: int
    said: list[SaidByPerson | SaidByAgent] = field(default_factory=list)
    typing: bool = False
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)


class MemoryChat:
    """Both ports of a conversation, `Intake` and `ChatFeed`, for one process and one event loop.

    `available` set to False makes both raise `Unavailable`.
    """

    def __init__(self) -> None:
        self.available = True
        self.received: list[InboundMessage] = []
        self._arrived = asyncio.Condition()
        self._refused = asyncio.Event()
        self._conversations: dict[Address, _Conversation] = {}
        self._stored: dict[tuple[str, str], Receipt] = {}

    async def receive(self, message: InboundMessage) -> Receipt:
        """Store a message; see `Intake`."""
        self._check()
        only_files = message.attachments and not message.text.strip()
        text = "" if only_files else clean_text(message.text)
        key = (message.sender.channel, message.provider_id)
        if (stored := self._stored.get(key)) is not None:
            return Receipt(tenant_id=stored.tenant_id, conversation_id=stored.conversation_id, duplicate=True)
        conversation = self._conversation(message.sender)
        receipt = Receipt(tenant_id=TenantId(conversation.id), conversation_id=conversation.id, duplicate=False)
        self._stored[key] = receipt
        async with self._arrived:
            self.received.append(message)
            self._arrived.notify_all()
        async with conversation.changed:
            seq = len(conversation.said) + 1
            at = message.received_at
            conversation.said.append(SaidByPerson(seq=seq, text=text, at=at, provider_id=message.provider_id))
            conversation.changed.notify_all()
        return receipt

    async def wait_received(self, count: int) -> None:
        """Wait until so many messages are stored."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.received) >= count)

    async def wait_refused(self) -> None:
        """Wait until something was refused because `available` is False."""
        await self._refused.wait()

    async def reply(self, address: Address, text: str, *files: OutgoingFile) -> None:
        """Let the agent say something, with files, and stop typing."""
        conversation = self._conversation(address)
        async with conversation.changed:
            seq = len(conversation.said) + 1
            conversation.said.append(SaidByAgent(seq=seq, text=text, at=datetime.now(UTC), files=files))
            conversation.typing = False
            conversation.changed.notify_all()

    async def type(self, address: Address, on: bool) -> None:
        """Let the agent begin or stop to type."""
        conversation = self._conversation(address)
        async with conversation.changed:
            conversation.typing = on
            conversation.changed.notify_all()

    async def follow(self, address: Address, after: int) -> AsyncGenerator[FeedItem, None]:
        """Follow a conversation; see `ChatFeed`."""
        self._check()
        conversation = self._conversation(address)
        typing: bool | None = None
        while True:
            for item in conversation.said[after:]:
                yield item
                after = item.seq
            if typing is not conversation.typing:
                typing = conversation.typing
                yield Typing(on=typing)
            async with conversation.changed:
                if len(conversation.said) <= after and typing is conversation.typing:
                    await conversation.changed.wait()
            self._check()

    def _conversation(self, address: Address) -> _Conversation:
        return self._conversations.setdefault(address, _Conversation(id=len(self._conversations) + 1))

    def _check(self) -> None:
        if not self.available:
            self._refused.set()
            raise Unavailable("Not just now.")
