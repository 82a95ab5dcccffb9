"""Workers that die while they say a reply: others say it anew, and listeners are told that it is another one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
from tests.faults.forked import started
from tests.faults.live_worker import work_aloud
from tests.real.api_scene import DEADLINE_S, Scene, open_session, scene, until_replied
from tests.real.test_api_stream import say, streaming

from subclaw.config import KEY_VARIABLES, load_settings
from subclaw.store.database import DatabaseAddress
from subclaw.testing.egress import running_gateway
from subclaw.testing.models import ScriptedModel, words
from subclaw.testing.openai import Failure, FakeOpenAi, InTurn, Words
from subclaw.testing.serving import serving

TEXT = " ".join(f"word{number}" for number in range(60)) + " and that is all."
THERE = "Are you there?"
SLOW = Words(text=TEXT, pause_s=0.04)


@asynccontextmanager
async def opened(folder: Path, address: DatabaseAddress, provider: FakeOpenAi) -> AsyncIterator[tuple[Scene, str]]:
    """Serve the API without a worker, and a gateway to the provider; yields the scene and the gateway's socket."""
    async with serving(provider.app()) as port, scene(address, ScriptedModel([words("")]), works=False) as made:
        variables = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1", "SUBCLAW_MODEL": "openai"}
        settings = load_settings(variables)
        async with running_gateway(folder, settings.upstreams, {KEY_VARIABLES["OPENAI_API_KEY"]: "k"}) as socket:
            yield made, str(socket)


async def at_work(client: httpx2.AsyncClient) -> None:
    """Wait until a worker answers: then it hears who listens, too."""
    session = await open_session(client, "somebody else")
    await say(client, session, THERE)
    await until_replied(client, session)


def test_another_worker_says_the_reply_anew(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario() -> None:
        provider = FakeOpenAi(otherwise=[SLOW])
        provider.play(THERE, Words(text="Yes."))
        async with opened(tmp_path, address, provider) as (made, socket), made.client() as client:
            session = await open_session(client)
            first = await asyncio.to_thread(started, work_aloud, address, socket)
            await at_work(client)
            async with streaming(client, session) as stream:
                await say(client, session)
                await stream.until("reply.delta")
                second = await asyncio.to_thread(started, work_aloud, address, socket)
                first.kill()
                try:
                    assert (await stream.until("reply.reset"))["why"] == "again"
                    await stream.until("reply.delta")
                    assert (await stream.until("reply"))["text"] == TEXT
                    await stream.until("turn.finished")
                finally:
                    second.kill()
            assert stream.kinds().count("reply") == 1
            assert (provider.requests, provider.streamed) == (3, 2)
            await asyncio.to_thread(first.join)
            await asyncio.to_thread(second.join)

    asyncio.run(asyncio.wait_for(scenario(), DEADLINE_S))


def test_a_provider_that_breaks_off_is_asked_again_in_front_of_the_listener(
    address: DatabaseAddress, tmp_path: Path
) -> None:
    async def scenario() -> None:
        failing = InTurn(answers=[Failure(status=503), SLOW])
        provider = FakeOpenAi(otherwise=[failing])
        provider.play(THERE, Words(text="Yes."))
        async with opened(tmp_path, address, provider) as (made, socket), made.client() as client:
            session = await open_session(client)
            worker = await asyncio.to_thread(started, work_aloud, address, socket)
            await at_work(client)
            try:
                async with streaming(client, session) as stream:
                    await say(client, session)
                    await stream.until("reply")
            finally:
                worker.kill()
            deltas = "".join(data["text"] for name, data in stream.seen if name == "reply.delta")
            assert deltas
            assert TEXT.startswith(deltas)
            assert stream.kinds().count("reply.delta") > 3
            assert (provider.requests, provider.streamed) == (3, 2)
            await asyncio.to_thread(worker.join)

    asyncio.run(asyncio.wait_for(scenario(), DEADLINE_S))
