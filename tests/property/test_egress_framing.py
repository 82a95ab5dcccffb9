"""Bodies in chunks: read alike however they are cut, as h11 reads them, or not at all."""

from itertools import pairwise

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subclaw.egress.http.framing import CHUNKED, EMPTY, UNTIL_END, BadBody, Framing, IncomingBody, OutgoingBody

_SIZES = st.sampled_from(
    [b"0", b"1", b"3", b"003", b"A", b"a", b"10", b"+3", b"0x3", b"-1", b"", b" 3", b"3 ", b"f" * 16]
)
_EXTENSIONS = st.sampled_from([b"", b"", b"", b";a=b", b" ;a", b';a="\xff"', b";\n", b"\t", b"\0"])
_ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\r\n", b""])
_CONTENTS = st.sampled_from([b"", b"a", b"abc", b"\r\n0", b"a" * 10, b"a" * 16, b"0\r\n\r\n"])
_TRAILERS = st.sampled_from([b"", b"", b"X: y\r\n", b"X: y\r\nZ:\r\n", b"X\r\n", b" X: y\r\n", b"X: y\n", b"X: \0\r\n"])
_SOUND = st.binary(min_size=1, max_size=40).map(lambda content: b"%x\r\n%b\r\n" % (len(content), content))
_CHUNKS = st.one_of(_SOUND, st.tuples(_SIZES, _EXTENSIONS, _ENDS, _CONTENTS, _ENDS).map(b"".join))
_BODIES = st.tuples(
    st.lists(_CHUNKS, max_size=4).map(b"".join), st.sampled_from([b"0\r\n", b"00;a\r\n", b""]), _TRAILERS, _ENDS
).map(b"".join)


def _read(pieces: list[bytes]) -> tuple[bytes, bytes, bool] | None:
    """Return the content, what followed the body, and whether that ended; None if it is malformed."""
    body, content, rest = IncomingBody(CHUNKED), b"", b""
    try:
        for piece in pieces:
            if body.ended:
                rest += piece
            else:
                more, rest = body.take(piece)
                content += more
    except BadBody:
        return None
    return content, rest, body.ended


def _read_by_h11(data: bytes) -> tuple[bytes, bytes, bool]:
    http = h11.Connection(h11.SERVER)
    http.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
    assert isinstance(http.next_event(), h11.Request)
    content = b""
    while isinstance(event := http.next_event(), h11.Data):
        content += event.data
    return content, http.trailing_data[0], isinstance(event, h11.EndOfMessage)


@given(data=_BODIES, after=st.binary(max_size=10), cuts=st.lists(st.integers(0, 200), max_size=6))
@settings(max_examples=1_500, deadline=None)
def test_what_is_read_is_read_alike_elsewhere(data: bytes, after: bytes, cuts: list[int]) -> None:
    data += after
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    whole = _read([data])
    assert whole == _read([data[start:end] for start, end in pairwise(bounds)])
    if whole is not None and whole[2]:
        assert whole == _read_by_h11(data)


@pytest.mark.parametrize(
    "data",
    [
        *(
            b"xyz\r\n",
            b"+3\r\nabc",
            b"-3\r\n",
            b"0x3\r\nabc",
            b" 3\r\nabc",
            b"\r\n",
            b"3\nabc\n",
            b"3\rabc",
            b"3;\0\r\n",
        ),
        *(b"3\r\nabcd", b"3\r\nabc\n", b"0\r\nX\r\n\r\n", b"0\r\n X: y\r\n\r\n", b"0\r\nX: y\nZ: z\r\n\r\n"),
        *(b"1" * 16 + b"\r\n", b"3;" + b"a" * 300, b"0\r\nX: " + b"a" * 20_000, b"\xef\xbc\x93\r\nabc"),
    ],
)
def test_malformed_chunks(data: bytes) -> None:
    assert _read([data]) is None
    assert _read([bytes([byte]) for byte in data]) is None


def test_lengths() -> None:
    body = IncomingBody(Framing(length_bytes=5))
    assert body.take(b"ab") == (b"ab", b"")
    with pytest.raises(BadBody):
        body.end()
    assert body.take(b"cdeGET") == (b"cde", b"GET")
    assert body.ended
    assert IncomingBody(EMPTY).ended
    until_end = IncomingBody(UNTIL_END)
    assert until_end.take(b"ab\r\n") == (b"ab\r\n", b"")
    until_end.end()
    assert until_end.ended


def test_what_is_written_is_as_long_as_its_head_says() -> None:
    body = OutgoingBody(Framing(length_bytes=3))
    assert body.piece(b"ab") == b"ab"
    with pytest.raises(ValueError, match="shorter"):
        body.end()
    with pytest.raises(ValueError, match="longer"):
        body.piece(b"cd")
    with pytest.raises(ValueError, match="longer"):
        OutgoingBody(EMPTY).piece(b"a")
    chunks = OutgoingBody(CHUNKED)
    written = chunks.piece(b"ab" * 10) + chunks.piece(b"") + chunks.piece(b"c") + chunks.end()
    assert _read([written]) == (b"ab" * 10 + b"c", b"", True)
