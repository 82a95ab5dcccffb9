"""The conversation in memory keeps the chat feed's contract."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from tests.contract.chat_feed import ChatFeedContract, Talk

from subclaw.testing.chat import MemoryChat


class TestMemoryChat(ChatFeedContract):
    """See `ChatFeedContract`."""

    def opened(self) -> AbstractAsyncContextManager[Talk]:
        """Open an empty one."""

        @asynccontextmanager
        async def chat() -> AsyncIterator[Talk]:
            yield MemoryChat()

        return chat()
