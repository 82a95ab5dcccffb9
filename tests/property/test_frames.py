"""The frame codec: what is sent comes out, in whatever pieces; whatever else comes is an error; little is held."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subclaw_guest.frames import (
    HEADER,
    MAX_PAYLOAD_BYTES,
    Frame,
    FrameError,
    Kind,
    Parser,
    credit,
    credit_bytes,
    encode,
)

streams = st.integers(1, 2**32 - 1)
sized = st.sampled_from([Kind.OPEN, Kind.RESULT, Kind.ERROR])
frames = st.one_of(
    st.builds(Frame, stream=streams, kind=sized, payload=st.binary(max_size=200)),
    st.builds(Frame, stream=streams, kind=st.just(Kind.DATA), payload=st.binary(min_size=1, max_size=200)),
    st.builds(Frame, stream=streams, kind=st.sampled_from([Kind.END, Kind.CANCEL]), payload=st.just(b"")),
    st.builds(credit, streams, st.integers(0, 2**32 - 1)),
)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut bytes at the given places."""
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


@given(st.lists(frames, max_size=20), st.lists(st.integers(min_value=0), max_size=30))
def test_frames_come_out_as_they_went_in(sent: list[Frame], cuts: list[int]) -> None:
    parser = Parser()
    data = b"".join(encode(frame) for frame in sent)
    assert [frame for piece in pieces(data, cuts) for frame in parser.feed(piece)] == sent
    assert parser.held_bytes == 0


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_garbage_is_frames_or_an_error_and_never_held(garbage: list[bytes]) -> None:
    parser = Parser()
    received = b"".join(garbage)
    out = []
    try:
        for piece in garbage:
            out += parser.feed(piece)
            assert parser.held_bytes <= HEADER.size + MAX_PAYLOAD_BYTES
    except FrameError:
        return
    encoded = b"".join(encode(frame) for frame in out)
    assert received.startswith(encoded)
    assert len(received) - len(encoded) == parser.held_bytes


@given(streams, st.integers(0, 255), st.integers(0, 2**32 - 1))
def test_header_is_judged_before_its_payload_comes(stream: int, kind: int, size: int) -> None:
    parser = Parser()
    allowed = (
        Kind.OPEN <= kind <= Kind.CANCEL
        and size <= MAX_PAYLOAD_BYTES
        and not (kind in (Kind.END, Kind.CANCEL) and size)
        and not (kind == Kind.CREDIT and size != 4)
        and not (kind == Kind.DATA and not size)
    )
    header = HEADER.pack(stream, kind, size)
    if allowed:
        assert len(parser.feed(header)) == (size == 0)
    else:
        with pytest.raises(FrameError):
            parser.feed(header)


@given(streams, st.integers(0, 2**32 - 1))
def test_credit_says_how_much(stream: int, size: int) -> None:
    assert credit_bytes(credit(stream, size)) == size


@pytest.mark.parametrize("stream", [0, -1, 2**32])
def test_stream_out_of_range_is_not_sent(stream: int) -> None:
    with pytest.raises(FrameError):
        encode(Frame(stream=stream, kind=Kind.OPEN))


def test_payload_too_large_is_not_sent() -> None:
    with pytest.raises(FrameError):
        encode(Frame(stream=1, kind=Kind.DATA, payload=bytes(MAX_PAYLOAD_BYTES + 1)))
