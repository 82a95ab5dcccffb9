"""The typed client, against the API itself."""

import asyncio
from contextlib import aclosing

import httpx2
import pytest
from tests.real.api_scene import DEADLINE_S, Scene, play

from subclaw.client import ApiError, Client, Delta, Event, Part, Reset, Unreachable
from subclaw.core.api_key import Scope
from subclaw.core.tenant import TenantId
from subclaw.store.database import DatabaseAddress
from subclaw.testing.models import Pause, aloud, calls, words


def test_a_customer_is_served_from_the_first_word_to_the_erasure(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        async with Client(scene.url, await scene.key()) as client:
            assert [agent.id async for agent in client.agents()] == ["sales", "support"]
            assert (await client.agent("support")).version == 1
            session = await client.open_session("support", customer="anna", binding={"id": 1}, channel="widget")
            assert await client.ask(session.id, "Hi") == "One."
            assert await client.ask(session.id, "And?") == "Two."
            assert (await client.session(session.id)).customer == "anna"
            assert [one.id async for one in client.sessions("support", customer="anna")] == [session.id]
            token = await client.session_token(session.id, life_s=60)
            assert token.token.startswith("sct_")
            assert token.token not in repr(token)
            assert [one async for one in client.schedules()] == []
            (customer,) = [one async for one in client.customers(agent="support")]
            with pytest.raises(ApiError, match="no machine"):
                await anext(client.files(customer.id))
            scene.files[TenantId(customer.id)] = [b"one", b"two"]
            assert b"".join([piece async for piece in client.files(customer.id)]) == b"onetwo"
            exported = [line async for line in client.export(customer.id)]
            assert exported[-1] == {"end": True}
            receipt = await client.erase(customer.id)
            assert receipt.rows["session"] == 1
            with pytest.raises(ApiError, match="no such session") as error:
                await client.session(session.id)
            assert error.value.status == 404

    play(scenario, address, [words("One."), words("Two.")])


def test_an_answer_is_streamed(address: DatabaseAddress) -> None:
    pause = Pause()

    async def scenario(scene: Scene) -> None:
        async with Client(scene.url, await scene.key()) as client:
            session = await client.open_session("support", customer="anna")
            assert await client.ask(session.id, "Hi") == "Good day."
            assert scene.model.prompts[-1].hearer is None, "who only asks wants no deltas"
            parts: list[Part] = []
            async with asyncio.timeout(DEADLINE_S), aclosing(client.stream(session.id, "And?")) as stream:
                async for part in stream:
                    parts.append(part)
                    if isinstance(part, Delta):
                        pause.go_on.set()
        said = "".join(part.text for part in parts if isinstance(part, Delta))
        assert said
        assert "Hello, how can I help?".startswith(said)
        assert [part.type for part in parts if isinstance(part, Event)] == ["message", "reply", "turn.finished"]
        assert [part.text for part in parts if isinstance(part, Event)][1] == "Hello, how can I help?"

    play(scenario, address, [words("Good day."), aloud("Hello, ", "how can", pause, " I help?")])


def test_a_stream_that_breaks_off_begins_the_answer_anew(
    address: DatabaseAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subclaw.client.client.RECONNECT_S", 0.01)
    monkeypatch.setattr("subclaw.client.calls.PAUSES_S", (0.01, 0.01, 0.01, 0.01))
    pause = Pause()

    async def scenario(scene: Scene) -> None:
        transport, shown, resets = Breaking(streams=1, after=b"event: reply.delta"), "", 0
        async with Client(scene.url, await scene.key(), transport=transport) as client:
            session = await client.open_session("support", customer="anna")
            async with asyncio.timeout(DEADLINE_S), aclosing(client.stream(session.id, "Hi")) as stream:
                async for part in stream:
                    shown += part.text if isinstance(part, Delta) else ""
                    if isinstance(part, Reset):
                        shown, resets = "", resets + 1
                    if resets and shown == "Hello, how can":
                        pause.go_on.set()
                    if isinstance(part, Event) and part.type == "reply":
                        assert part.text == "Hello, how can I help?"
        assert resets >= 1

    play(scenario, address, [aloud("Hello, ", "how can I", pause, " help?")])


def test_approvals_and_webhooks(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        async with Client(scene.url, await scene.key()) as client:
            session = await client.open_session("support", customer="anna")
            await client.ask(session.id, "refund")
            (waiting,) = [one async for one in client.approvals()]
            assert (await client.approval(waiting.id)).arguments == '{"amount":80}'
            await client.decide(waiting.id, approve=False)
            async with asyncio.timeout(DEADLINE_S), aclosing(client.events(session.id)) as events:
                async for event in events:
                    if event.type == "approval.closed":
                        assert event.outcome == "declined"
                        break
            made = await client.make_webhook("https://shop.example/hooks", ["turn.failed"], agent="support")
            assert made.secret is not None
            assert [one.id async for one in client.webhooks()] == [made.id]
            await client.remove_webhook(made.id)
            assert [one.id async for one in client.webhooks()] == []

    play(scenario, address, [calls(("refund", '{"amount": 80}')), words("Wait."), words("No.")], approve=["refund"])


class Breaking(httpx2.AsyncBaseTransport):
    """Carries calls, and breaks off the first answer to each POST, and the first streams once they have two events."""

    def __init__(self, streams: int, after: bytes = b"\nid: ") -> None:
        self._inner = httpx2.AsyncHTTPTransport()
        self._broken: set[str] = set()
        self._streams = streams
        self._after = after
        self.posts = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        if request.method == "POST":
            self.posts += 1
            name = request.headers["idempotency-key"]
            if name not in self._broken:
                self._broken.add(name)
                await response.aread()
                raise httpx2.ReadError("broken off", request=request)
        elif self._streams and "text/event-stream" in response.headers.get("content-type", ""):
            self._streams -= 1
            return httpx2.Response(200, headers=response.headers, stream=_Cut(response, self._after), request=request)
        return response


class _Cut(httpx2.AsyncByteStream):
    def __init__(self, response: httpx2.Response, after: bytes) -> None:
        self._response = response
        self._after = after

    async def __aiter__(self):  # type: ignore[no-untyped-def]
        count = 0
        async for piece in self._response.stream:  # type: ignore[union-attr]
            yield piece
            count += piece.count(self._after)
            if count >= (2 if self._after == b"\nid: " else 1):
                raise httpx2.ReadError("cut")

    async def aclose(self) -> None:
        await self._response.aclose()


def test_what_breaks_off_is_sent_again_and_performed_once(
    address: DatabaseAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subclaw.client.client.RECONNECT_S", 0.01)
    monkeypatch.setattr("subclaw.client.calls.PAUSES_S", (0.01, 0.01, 0.01, 0.01))

    async def scenario(scene: Scene) -> None:
        transport = Breaking(streams=2)
        async with Client(scene.url, await scene.key(), transport=transport) as client:
            session = await client.open_session("support", customer="anna")
            assert len([one async for one in client.sessions("support")]) == 1
            assert await client.ask(session.id, "Hi") == "Hello, how can I help?"
            seen: list[Event] = []
            async with aclosing(client.events(session.id)) as events:
                async for event in events:
                    seen.append(event)
                    if event.type == "turn.finished":
                        break
            ids = [event.id for event in seen]
            assert ids == sorted(set(ids)), "nothing twice"
            assert [event.type for event in seen].count("message") == 1
        assert transport.posts == 4

    play(scenario, address)


def test_refusals_and_silence_are_told_apart(address: DatabaseAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subclaw.client.calls.PAUSES_S", (0.01, 0.01, 0.01, 0.01))

    async def scenario(scene: Scene) -> None:
        async with Client(scene.url, await scene.key(Scope.AGENTS_READ)) as client:
            with pytest.raises(ApiError, match="sessions:write"):
                await client.open_session("support", customer="anna")
        async with Client("http://127.0.0.1:9", "sck_x") as client:
            with pytest.raises(Unreachable):
                await client.agent("support")

    play(scenario, address)
