"""The host's end against any bytes at all: a call always ends, with a result or a known error, and little is held.

What an agent sends is made of any bytes, of frames in any order, of frames that are cut off, and of answers that are
nearly right.
"""

import asyncio
import contextlib
import itertools
import json
import tracemalloc
from collections.abc import Awaitable, Callable
from dataclasses import asdict

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from subclaw.core.errors import SubclawError
from subclaw.core.house import Waiting, is_house_path
from subclaw.core.machine import Command, SearchResult
from subclaw.machines.guest.guest import Guest, GuestBroken
from subclaw.machines.guest.houses import SIGNATURE_LENGTH, Seen
from subclaw.machines.guest.identity import new_identity
from subclaw_guest.frames import MAX_PAYLOAD_BYTES, WINDOW_BYTES, Frame, FrameError, Kind, credit, encode
from subclaw_guest.house import Problem
from subclaw_guest.link import PIECE_BYTES, Link, LinkClosed
from subclaw_guest.refusals import Reason

Call = Callable[[Guest], Awaitable[object]]

LIMIT_BYTES = 100
ANSWER_S = 60.0
HANG_S = 20.0
"""When a call counts as hung: long before its own time limit, since the machine is gone by then."""

FLOOD_BYTES, FLOOD_PIECES = 16 * 1024**2, 1_500
HELD_BYTES = 16 * WINDOW_BYTES
"""What may be held at the most: a window, frames that are not complete, what the call sends, and Python's own share."""

EXAMPLES = settings(max_examples=100, deadline=None)
FLOODS = settings(max_examples=30, deadline=None)


async def archive(guest: Guest) -> object:
    return [piece async for piece in guest.archive("path", limit_bytes=LIMIT_BYTES)]


async def connection(guest: Guest) -> None:
    async with guest.connect(80) as stream:
        await stream.send(bytes(2 * WINDOW_BYTES))


def data(size_bytes: int) -> bytes:
    """Return a frame of data on the first stream."""
    return encode(Frame(stream=1, kind=Kind.DATA, payload=bytes(size_bytes)))


CALLS: dict[str, Call] = {
    "ping": lambda guest: guest.ping(timeout_s=ANSWER_S),
    "rehearse": lambda guest: guest.rehearse(timeout_s=ANSWER_S),
    "set_up": lambda guest: guest.set_up(new_identity("machine-1"), timeout_s=ANSWER_S),
    "resume": lambda guest: guest.resume(timeout_s=ANSWER_S),
    "occupation": lambda guest: guest.occupation(timeout_s=ANSWER_S),
    "sync": lambda guest: guest.sync(timeout_s=ANSWER_S),
    "freeze": lambda guest: guest.freeze(timeout_s=ANSWER_S),
    "run": lambda guest: guest.run(Command(text="true", timeout_s=ANSWER_S, output_limit_bytes=LIMIT_BYTES)),
    "read": lambda guest: guest.read("path", offset_bytes=0, limit_bytes=LIMIT_BYTES),
    "write": lambda guest: guest.write("path", bytes(2 * WINDOW_BYTES)),
    "search": lambda guest: guest.search("pattern", "path", limit=2),
    "archive": archive,
    "connection": connection,
    "house": lambda guest: guest.house("known"),
    "furnish": lambda guest: guest.furnish([Waiting(path="memory.md", content=bytes(2 * WINDOW_BYTES))] * 3),
}

# JSON can hold halves of characters, which no text that is sent on can.
texts = st.text(st.characters() | st.sampled_from("\ud800\udfff\0"), max_size=10)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=5), values, max_size=3),
    max_leaves=6,
)
FIELDS = (
    "nonce clock_ns worked hostname boot_id machine_id random repaired processes claim_s exit_status output_bytes"
    " size_bytes more reason detail signature refused"
).split()
refusals = st.lists(st.lists(st.integers(-1, 4) | st.sampled_from([str(reason) for reason in Reason]), max_size=3))
told = st.sampled_from([*map(str, Reason), "x" * SIGNATURE_LENGTH])
answers = st.dictionaries(st.sampled_from(FIELDS), json_values | told | refusals)
payloads = (
    st.binary(max_size=200)
    | st.builds(lambda value: json.dumps(value).encode(), answers | json_values)
    | st.integers(1, MAX_PAYLOAD_BYTES).map(bytes)
)
# Streams: the one that is open, one that was, and others.
streams = st.sampled_from([1, 1, 1, 1, 2, 3]) | st.integers(1, 2**32 - 1)
frames = st.one_of(
    st.builds(Frame, stream=streams, kind=st.sampled_from([Kind.RESULT, Kind.ERROR, Kind.OPEN]), payload=payloads),
    st.builds(Frame, stream=streams, kind=st.just(Kind.DATA), payload=payloads.filter(bool)),
    st.builds(Frame, stream=streams, kind=st.sampled_from([Kind.END, Kind.CANCEL]), payload=st.just(b"")),
    st.builds(credit, streams, st.sampled_from([1, PIECE_BYTES, WINDOW_BYTES]) | st.integers(0, 2**32 - 1)),
)
matches = st.builds(lambda path, line, text: [path, line, text], texts, st.integers(0, 2**64), texts)
records = st.builds(
    lambda path, size, problem, content: json.dumps([path, size, problem]).encode() + b"\n" + content,
    texts | st.sampled_from(["memory.md", "skills/a.md", "../passwd", ".hidden", "a/b/c/d"]),
    st.integers(-2, 4) | st.integers(),
    st.sampled_from(["", "gone", *map(str, Problem)]),
    st.binary(max_size=4),
)
lines = st.builds(lambda match: json.dumps(match).encode() + b"\n", matches)
small = lines | records | st.binary(min_size=1, max_size=60)
nearly_right = st.builds(
    lambda pieces, fields: [*pieces, encode(Frame(stream=1, kind=Kind.RESULT, payload=json.dumps(fields).encode()))],
    st.lists(small.map(lambda payload: encode(Frame(stream=1, kind=Kind.DATA, payload=payload))), max_size=3),
    answers,
)
HALF_A_CHARACTER = b'["\\ud800", 1, "text"]\n'
FOUND = encode(Frame(stream=1, kind=Kind.RESULT, payload=b'{"more": false}'))
data_pieces = st.integers(1, MAX_PAYLOAD_BYTES).map(data)
whole = st.lists(st.builds(encode, frames), max_size=12) | nearly_right
interleaved = st.lists(st.builds(encode, frames) | st.binary(max_size=30), max_size=12)
cuts = st.lists(st.integers(min_value=0), max_size=12)


def cut(content: bytes, places: list[int]) -> list[bytes]:
    """Cut bytes into pieces at the given places."""
    at = sorted({place % (len(content) + 1) for place in places} | {0, len(content)})
    return [content[start:end] for start, end in itertools.pairwise(at)]


async def outcome(call: Call, pieces: list[bytes]) -> None:
    """Make a call to an agent that sends pieces, one each time it is asked for some, and then is gone."""
    left = [*pieces, b""]
    asked = asyncio.Event()

    async def write(content: bytes) -> None:
        asked.set()

    async def read() -> bytes:
        # Nothing comes before there is a call, so that it is one under way that is answered.
        await asked.wait()
        for _ in range(3):
            await asyncio.sleep(0)
        return left.pop(0)

    link = Link(write)
    async with asyncio.timeout(HANG_S):
        pump = asyncio.ensure_future(link.pump(read))
        with contextlib.suppress(GuestBroken, SubclawError):
            check_encodable(await call(Guest(link)))
        with contextlib.suppress(FrameError, LinkClosed):
            await pump


def check_encodable(result: object) -> None:
    """Show that the text in what a call returned can be sent on."""
    if isinstance(result, SearchResult):
        json.dumps(asdict(result), ensure_ascii=False).encode()
    if isinstance(result, Seen):
        for file in result.files:
            assert "\0" not in f"{file.path}{file.problem}".encode().decode()
            assert (file.content is None) == bool(file.problem)
            assert file.content is None or is_house_path(file.path)


@pytest.mark.parametrize("name", CALLS)
@EXAMPLES
@example(sent=[encode(Frame(stream=1, kind=Kind.DATA, payload=HALF_A_CHARACTER)), FOUND], places=[])
@given(sent=whole | interleaved, places=cuts)
def test_whatever_comes_a_call_ends(name: str, sent: list[bytes], places: list[int]) -> None:
    asyncio.run(outcome(CALLS[name], cut(b"".join(sent), places)))


@pytest.mark.parametrize("name", CALLS)
@EXAMPLES
@given(sent=whole, size=st.integers(min_value=0))
def test_cut_off_anywhere_a_call_ends(name: str, sent: list[bytes], size: int) -> None:
    content = b"".join(sent)
    asyncio.run(outcome(CALLS[name], [content[: size % (len(content) + 1)]]))


@pytest.mark.parametrize("name", ["run", "write", "search", "connection", "furnish"])
@FLOODS
@example(sent=[data(2)] * 100)
@given(sent=st.lists(st.one_of(data_pieces, st.builds(encode, frames)), min_size=1, max_size=4))
def test_however_much_comes_little_is_held(name: str, sent: list[bytes]) -> None:
    piece = b"".join(sent)
    flood = [piece] * min(FLOOD_PIECES, FLOOD_BYTES // len(piece))
    tracemalloc.start()
    try:
        asyncio.run(outcome(CALLS[name], flood))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < HELD_BYTES + 2 * len(piece)
