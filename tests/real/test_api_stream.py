"""Replies while they are being said: the session's stream, what is taken back, and who hears nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from tests.real.api_scene import DEADLINE_S, Scene, open_session, play, until_replied

from subclaw.core.errors import Unavailable
from subclaw.store.database import DatabaseAddress
from subclaw.testing.models import Aloud, Pause, aloud, calls, words

LONG = "Your parcel is at the depot in Graz, and will be brought to you tomorrow between nine and eleven. "


class Stream:
    """A session's stream, as a client reads it: events, and what deltas come to."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines
        self.seen: list[tuple[str, Any]] = []
        self.shown = ""

    async def until(self, kind: str, text: str = "") -> Any:
        """Read on until an event of a kind, or until what was shown is `text`. Returns its data."""
        if text and self.shown == text:
            return self.seen[-1][1]
        name = ""
        async with asyncio.timeout(DEADLINE_S):
            async for line in self._lines:
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    data = json.loads(line.removeprefix("data: "))
                    self._note(name, data)
                    if name == kind and (not text or self.shown == text):
                        return data
        raise AssertionError(f"no {kind}: {self.seen}")

    def _note(self, name: str, data: Any) -> None:
        self.seen.append((name, data))
        if name == "reply.delta":
            self.shown += data["text"]
        elif name in ("reply.reset", "reply"):
            self.shown = ""

    def kinds(self) -> list[str]:
        return [name for name, _ in self.seen]


@asynccontextmanager
async def streaming(client: httpx2.AsyncClient, session: str, after: int = 0) -> AsyncIterator[Stream]:
    headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
    async with client.stream("GET", f"/sessions/{session}/events", headers=headers) as response:
        assert response.status_code == 200
        stream = Stream(response.aiter_lines())
        await stream.until("working") if not after else None
        yield stream


async def say(client: httpx2.AsyncClient, session: str, text: str = "Hi") -> None:
    assert (await client.post(f"/sessions/{session}/events", json={"text": text})).status_code == 202


def test_words_come_before_the_reply_and_are_of_its_turn(address: DatabaseAddress) -> None:
    pause = Pause()

    async def scenario(scene: Scene) -> None:
        async with scene.client() as client:
            session = await open_session(client)
            async with streaming(client, session) as stream:
                await say(client, session)
                await stream.until("reply.delta", "Hello, how can I")
                assert "id" not in stream.seen[-1][1]
                pause.go_on.set()
                assert (await stream.until("reply"))["text"] == "Hello, how can I help you?"
                await stream.until("turn.finished")
            (started,) = [data["id"] for name, data in stream.seen if name == "turn.started"]
            assert {data["turn"] for name, data in stream.seen if name == "reply.delta"} == {started}
            assert "reply.reset" not in stream.kinds()
            assert stream.kinds().index("turn.started") < stream.kinds().index("reply.delta")

    play(scenario, address, [aloud("Hel", "lo, how", " can I he", pause, "lp you?")])


def test_where_nobody_listens_nobody_is_told(address: DatabaseAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subclaw.store.live.AGAIN_S", 0.2)

    async def scenario(scene: Scene) -> None:
        async with scene.client() as client:
            session, other = await open_session(client), await open_session(client, "ben")
            async with streaming(client, other) as stream:
                await say(client, session)
                await until_replied(client, session)
                assert scene.model.prompts[-1].hearer is None
                await say(client, other)
                await stream.until("turn.finished")
                assert scene.model.prompts[-1].hearer is not None
            monkeypatch.setattr("subclaw.store.live.EXPECTED_S", 0.01)
            async with streaming(client, other):
                pass
            async with asyncio.timeout(DEADLINE_S):
                while scene.model.prompts[-1].hearer is not None:  # once it is known that nobody listens any more
                    await say(client, other)
                    await until_replied(client, other, len(scene.model.prompts) - 1)

    play(scenario, address, [aloud("One word ", "and another.")])


def test_who_leaves_does_not_stop_the_words_for_who_comes(address: DatabaseAddress) -> None:
    pause = Pause()

    async def scenario(scene: Scene) -> None:
        async with scene.client() as client, scene.client() as other:
            session = await open_session(client)
            async with streaming(client, session):
                said = await other.post(f"/sessions/{session}/events", json={"text": "Hi", "aloud": True})
            await pause.reached.wait()
            async with streaming(other, session, after=said.json()["after"]) as stream:
                await stream.until("reply.delta", "Hello, how can I")
                pause.go_on.set()
                await stream.until("turn.finished")

    play(scenario, address, [aloud("Hello, ", "how can I he", pause, "lp you?")])


def test_another_customers_stream_hears_nothing(address: DatabaseAddress) -> None:
    pause = Pause()

    async def scenario(scene: Scene) -> None:
        async with scene.client() as client:
            session, other = await open_session(client), await open_session(client, "ben")
            async with streaming(client, session) as stream, streaming(client, other) as others:
                await say(client, session, "Which parcel?")
                await stream.until("reply.delta", "The secret one is")
                pause.go_on.set()
                await stream.until("turn.finished")
                await say(client, other, "And mine?")
                assert (await others.until("reply"))["text"] == "Yours."
                assert "secret" not in json.dumps(others.seen)

    play(scenario, address, [aloud("The secret one is", " here.", pause), words("Yours.")])


def test_who_comes_in_the_middle_has_what_was_said_so_far(address: DatabaseAddress) -> None:
    pause = Pause()

    async def scenario(scene: Scene) -> None:
        async with scene.client() as client:
            session = await open_session(client)
            async with streaming(client, session) as stream:
                await say(client, session)
                await stream.until("reply.delta", "Hello, how can I")
                (last,) = [data["id"] for name, data in stream.seen if name == "message"]
                async with streaming(client, session) as later, streaming(client, session, after=last) as again:
                    await later.until("reply.delta", "Hello, how can I")
                    assert later.kinds().count("reply.delta") == 1
                    await again.until("reply.delta", "Hello, how can I")
                    pause.go_on.set()
                    assert (await again.until("reply"))["text"] == "Hello, how can I help you?"
                    await later.until("reply")
            assert [kind for kind in again.kinds() if kind != "working"][:2] == ["reply.reset", "reply.delta"]
            async with streaming(client, session) as late:
                assert late.kinds()[-2:] == ["turn.finished", "working"]
                assert "reply.delta" not in late.kinds(), "it is over"

    play(scenario, address, [aloud("Hello, ", "how can I he", pause, "lp you?")])


def test_what_is_said_before_a_tool_call_is_taken_back(address: DatabaseAddress) -> None:
    called = replace(calls(("refund", '{"amount": 3}')), text="I will look it up.")

    async def scenario(scene: Scene) -> None:
        async with scene.client() as client:
            session = await open_session(client)
            async with streaming(client, session) as stream:
                await say(client, session)
                reset = await stream.until("reply.reset")
                assert reset["why"] == "tools"
                before = "".join(data["text"] for name, data in stream.seen if name == "reply.delta")
                assert before == "I will look it up."
                await stream.until("reply.delta", "All is")
                pause.go_on.set()
                assert (await stream.until("reply"))["text"] == "All is done."
                await stream.until("turn.finished")
                assert stream.kinds().count("reply.reset") == 1

    pause = Pause()
    play(scenario, address, [Aloud(pieces=["I will ", "look it up."], then=called), aloud("All is ", pause, "done.")])


def test_what_a_model_that_fails_has_said_is_replaced(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.client() as client:
            session = await open_session(client)
            async with streaming(client, session) as stream:
                await say(client, session)
                await stream.until("reply.delta", "Half an")
                pause.go_on.set()
                assert "reach my model" in (await stream.until("reply"))["text"]
                await say(client, session)
                assert (await stream.until("reply"))["text"] == "Well now."

    pause = Pause()
    failing = Aloud(pieces=["Half an ans", pause], then=Unavailable("down"))
    play(scenario, address, [failing, aloud("Well ", "now.")])


def test_raw_output_is_taken_back(address: DatabaseAddress) -> None:
    trace = (
        'Traceback (most recent call last):\n  File "/srv/shop.py", line 12\n    pay()\n  File "/srv/pay.py", line 3\n'
    )

    async def scenario(scene: Scene) -> None:
        async with scene.client() as client:
            session = await open_session(client)
            async with streaming(client, session) as stream:
                await say(client, session)
                await stream.until("reply.delta", LONG.strip())
                pause.go_on.set()
                assert (await stream.until("reply.reset"))["why"] == "again"
                last.go_on.set()
                assert (await stream.until("reply"))["text"] == "It failed."
                assert "shop.py" not in json.dumps(stream.seen)

    pause, last = Pause(), Pause()
    play(scenario, address, [aloud(LONG, pause, LONG, trace, "ValueError: no", last), words("It failed.")])
