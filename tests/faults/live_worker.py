"""A worker whose model is a provider's, by its own protocol, and which tells what is being said to those who listen."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from tests.faults.forked import run_process
from tests.real.api_scene import turns_of

from subclaw.core.agent import AgentSettings
from subclaw.egress.control.client import gateway_client
from subclaw.models.choice import ModelChoice
from subclaw.models.providers import open_model
from subclaw.store.database import DatabaseAddress, Role, open_database
from subclaw.turns.live import LiveWords
from subclaw.turns.worker import work


def work_aloud(address: DatabaseAddress, gateway_socket: str) -> None:
    """Work until killed."""
    run_process(_work(address, Path(gateway_socket)))


async def _work(address: DatabaseAddress, gateway_socket: Path) -> None:
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(address, Role.APP))
        words = await stack.enter_async_context(open_database(address, Role.APP, size=1, flushes=False))
        gateway = await stack.enter_async_context(gateway_client(gateway_socket))
        model, live = open_model(ModelChoice(provider="openai", model="some-model"), gateway), LiveWords(words)
        async with asyncio.TaskGroup() as group:
            group.create_task(live.run())
            group.create_task(work(turns_of(database, model, AgentSettings(), live), address, limit=16))
