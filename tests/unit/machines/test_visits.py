"""Visits, without a machine: heads, where streams may be ended, who is let in."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subclaw.core.errors import Exhausted, Invalid
from subclaw.core.site_health import FAILING_S, FAILURES, Outcome, Trouble
from subclaw.core.tenant import TenantId
from subclaw.core.waking import RESTING_HEADER, Refusal, VisitLimits
from subclaw.machines.visits.answer import Answer
from subclaw.machines.visits.edges import GOING_AWAY, LAST_CHUNK, ChunkEdges, FrameEdges
from subclaw.machines.visits.gate import Gate
from subclaw.machines.visits.head import HEAD_LIMIT_BYTES, RequestHead, read_head
from subclaw.machines.visits.health import Health
from subclaw.machines.visits.pages import refusal_page, waking_page

ONE = TenantId(1)
FRAME = st.builds(
    lambda opcode, content, masked: framed(opcode, content, masked),
    st.sampled_from([0x81, 0x82, 0x01, 0x89]),
    st.integers(0, 70_000).map(bytes),
    st.booleans(),
)


def framed(first: int, content: bytes, masked: bool) -> bytes:
    size, mask = len(content), 0x80 if masked else 0
    if size < 126:
        header = bytes([first, mask | size])
    elif size < 65_536:
        header = bytes([first, mask | 126]) + size.to_bytes(2)
    else:
        header = bytes([first, mask | 127]) + size.to_bytes(8)
    return header + (b"mask" if masked else b"") + content


def chunked(content: bytes) -> bytes:
    return f"{len(content):x};a=b\r\n".encode() + content + b"\r\n"


@given(st.lists(FRAME, max_size=5), st.integers(1, 9_999))
def test_a_websocket_ends_between_frames_alone(frames: list[bytes], step: int) -> None:
    edges, between, at = FrameEdges(), {0}, 0
    for frame in frames:
        at += len(frame)
        between.add(at)
    content = b"".join(frames)
    for start in range(0, len(content), step):
        edges.feed(content[start : start + step])
        is_between = min(start + step, len(content)) in between
        assert edges.farewell() == (GOING_AWAY if is_between else None)


def test_a_websocket_that_was_closed_is_not_closed_again() -> None:
    edges = FrameEdges()
    edges.feed(framed(0x88, b"\x03\xe8", masked=False))
    assert edges.farewell() is None


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=5), st.integers(1, 100))
def test_events_end_between_chunks_alone(contents: list[bytes], step: int) -> None:
    edges, between, at = ChunkEdges(), {0}, 0
    for content in contents:
        at += len(chunked(content))
        between.add(at)
    whole = b"".join(map(chunked, contents))
    for start in range(0, len(whole), step):
        edges.feed(whole[start : start + step])
        assert edges.farewell() == (LAST_CHUNK if min(start + step, len(whole)) in between else None)
    edges.feed(LAST_CHUNK)
    assert edges.farewell() is None


@pytest.mark.parametrize("nonsense", [b"x" * 1_000, b"zz\r\nmore", b"-5\r\n"])
def test_chunks_that_are_none_are_not_ended(nonsense: bytes) -> None:
    edges = ChunkEdges()
    edges.feed(nonsense)
    assert edges.farewell() is None


@pytest.mark.parametrize(
    ("head", "status", "farewell"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n", 200, LAST_CHUNK),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\n", 200, None),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", 101, GOING_AWAY),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 503 No\r\n\r\n", 503, None),
        (b"nonsense\r\n\r\n", None, None),
        (b"x" * (HEAD_LIMIT_BYTES + 1), None, None),
    ],
)
def test_answers(head: bytes, status: int | None, farewell: bytes | None) -> None:
    for step in (1, len(head)):
        answer = Answer()
        for start in range(0, len(head), step):
            answer.feed(head[start : start + step])
        assert (answer.status, answer.farewell()) == (status, farewell)


def head_of(content: bytes, *, ends: bool = True) -> RequestHead | None:
    async def scenario() -> RequestHead | None:
        reader = asyncio.StreamReader(limit=HEAD_LIMIT_BYTES)
        reader.feed_data(content)
        if ends:
            reader.feed_eof()
        return await read_head(reader)

    return asyncio.run(scenario())


def test_a_request_is_read_up_to_its_body() -> None:
    content = (
        b"POST /a HTTP/1.1\r\nHost: x\r\nUser-Agent: me\r\nX-Forwarded-For: 192.0.2.7\r\nContent-Length: 4\r\n\r\n"
    )
    head = head_of(content + b"body")
    assert head == RequestHead(content=content, method="POST", visitor="192.0.2.7", user_agent="me", has_body=True)
    get = head_of(b"GET / HTTP/1.0\r\n\r\n")
    assert get is not None
    assert not get.has_body
    assert head_of(b"") is None


@pytest.mark.parametrize("content", [b"GET /", bytes(700_000), b"hello\r\n\r\n", b"GET / SPDY/1\r\n\r\n"])
def test_what_is_no_request(content: bytes) -> None:
    with pytest.raises(Invalid):
        head_of(content)


class Sleeper:
    """A machine that is asleep until it is woken."""

    def __init__(self) -> None:
        self.left_s: float | None = None
        self.left_asleep_s = 100.0
        self.wakes = 0
        self.is_away = False
        self.go = asyncio.Event()

    def visits_left_s(self, tenant_id: TenantId) -> float | None:
        return self.left_s

    async def visits_left_asleep_s(self, tenant_id: TenantId) -> float:
        return self.left_asleep_s

    async def wake(self, tenant_id: TenantId) -> None:
        self.wakes += 1
        if self.is_away:
            raise Exhausted("All machines are busy.")
        await self.go.wait()
        self.left_s = self.left_asleep_s


def visit(user_agent: str = "", visitor: str = "192.0.2.7") -> RequestHead:
    return RequestHead(content=b"", method="GET", visitor=visitor, user_agent=user_agent, has_body=False)


def test_a_thousand_visitors_wake_once() -> None:
    async def scenario() -> None:
        machine = Sleeper()
        gate = Gate(machine, VisitLimits())
        visits = [asyncio.ensure_future(gate.admit(ONE, visit(visitor=str(number)))) for number in range(1_000)]
        while not machine.wakes:
            await asyncio.sleep(0)
        machine.go.set()
        assert await asyncio.gather(*visits) == [None] * 1_000
        assert machine.wakes == 1

    asyncio.run(scenario())


def test_who_is_refused() -> None:
    async def scenario() -> None:
        now_s = 0.0
        machine = Sleeper()
        machine.go.set()
        gate = Gate(machine, VisitLimits(wakes_per_hour=2, requests_per_s=1, burst=3), lambda: now_s)
        assert await gate.admit(ONE, visit("Googlebot/2.1", "robot")) is Refusal.ROBOT
        assert machine.wakes == 0
        for number in range(2):
            assert await gate.admit(ONE, visit(visitor=f"early {number}")) is None
            assert await gate.admit(ONE, visit("Googlebot/2.1", f"robot {number}")) is None, "it is awake already"
            machine.left_s = None
        assert await gate.admit(ONE, visit(visitor="late")) is Refusal.TOO_OFTEN
        now_s = 1_800.0
        assert await gate.admit(ONE, visit(visitor="later")) is None
        assert [await gate.admit(ONE, visit(visitor="fast")) for _ in range(4)] == [None] * 3 + [Refusal.TOO_FAST]
        machine.left_s = 0.0
        assert await gate.admit(ONE, visit(visitor="spent")) is Refusal.SPENT
        machine.left_s, machine.left_asleep_s, machine.wakes = None, 0.0, 0
        assert await gate.admit(ONE, visit(visitor="spent asleep")) is Refusal.SPENT
        assert machine.wakes == 0
        machine.left_asleep_s, machine.is_away = 1.0, True
        now_s = 3_600.0
        assert await gate.admit(ONE, visit(visitor="no room")) is Refusal.AWAY

    asyncio.run(scenario())


def test_a_server_is_new_until_it_has_served_somebody() -> None:
    async def told_after(*before: Outcome) -> list[Trouble]:
        now_s, told = 0.0, list[Trouble]()

        async def tell(tenant_id: TenantId, port: int, trouble: Trouble) -> None:
            told.append(trouble)

        async with asyncio.TaskGroup() as group:
            health = Health(group, tell, lambda: now_s)
            health.begin(ONE, 8000)
            for outcome in (*before, *[Outcome.ERROR] * FAILURES):
                health.note(ONE, 8000, outcome)
            now_s = FAILING_S
            health.note(ONE, 8000, Outcome.ERROR)
            health.note(ONE, 9000, Outcome.ERROR)
        return told

    assert asyncio.run(told_after()) == [Trouble.NEVER_SERVED]
    assert asyncio.run(told_after(Outcome.SERVED)) == []


@pytest.mark.parametrize("refusal", Refusal)
def test_pages(refusal: Refusal) -> None:
    head, _, page = refusal_page(refusal).partition(b"\r\n\r\n")
    assert f"Content-Length: {len(page)}".encode() in head
    assert b"Retry-After: " in head
    assert (RESTING_HEADER.encode() in head) is (refusal is not Refusal.TOO_FAST)
    assert RESTING_HEADER.encode() not in waking_page()
