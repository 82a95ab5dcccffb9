"""What a server says by WebSocket is searched for secrets alike, however it is cut: into pieces, and into frames."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subclaw.egress.http.websocket import FrameScrubber
from subclaw.egress.refusal import Refusal
from subclaw.egress.secrets.scrub import forms_of

SECRET = b"sk-live-0123456789"
FORMS = forms_of(SECRET.decode())
TEXT, CONTINUATION, PING, CLOSE = 1, 0, 9, 8

_CUTS = st.lists(st.integers(1, 40), max_size=60)
_WORDS = st.one_of(st.binary(max_size=200), st.sampled_from([SECRET, SECRET[:9], SECRET[9:], SECRET.hex().encode()]))
_MESSAGES = st.lists(st.lists(_WORDS, min_size=1, max_size=5), min_size=1, max_size=4)


def frame(opcode: int, payload: bytes, *, last: bool = True) -> bytes:
    """Write a frame as a server does."""
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2)
    return bytes([opcode | (0x80 if last else 0)]) + length + payload


def message(parts: list[bytes]) -> bytes:
    """Write a message in so many frames."""
    frames = [frame(CONTINUATION if at else TEXT, part, last=at == len(parts) - 1) for at, part in enumerate(parts)]
    return b"".join(frames)


def read(data: bytes) -> list[tuple[int, bytes]]:
    """Read frames: the first byte of each, and its payload."""
    found = []
    while data:
        first, size, data = data[0], data[1], data[2:]
        if size > 125:
            extra = 2 if size == 126 else 8
            size, data = int.from_bytes(data[:extra]), data[extra:]
        assert len(data) >= size
        found.append((first, data[:size]))
        data = data[size:]
    return found


def scrubbed(data: bytes, cuts: list[int]) -> bytes:
    """Scrub what comes in pieces of such sizes, the rest at once."""
    scrubber, out = FrameScrubber(FORMS), b""
    for cut in cuts:
        out += scrubber.feed(data[:cut])
        data = data[cut:]
    return out + scrubber.feed(data)


@given(messages=_MESSAGES, cuts=_CUTS)
@settings(max_examples=300, deadline=None)
def test_no_secret_passes_and_every_frame_stays_as_long_as_it_was(messages: list[list[bytes]], cuts: list[int]) -> None:
    data = b"".join(map(message, messages))
    out = scrubbed(data, cuts)
    assert out == scrubbed(data, [])
    before, after = read(data), read(out)
    assert [(first, len(payload)) for first, payload in before] == [(first, len(payload)) for first, payload in after]
    said = b"".join(payload for _, payload in after)
    frames = iter(after)
    for parts in messages:
        together = b"".join(next(frames)[1] for _ in parts)
        assert not [form for form in FORMS if form in together]
    if not any(form[:3] in b"".join(parts) for parts in messages for form in FORMS):
        assert said == b"".join(payload for _, payload in before)


@given(text=st.binary(max_size=300).filter(lambda text: SECRET[:1] not in text))
def test_what_holds_no_secret_is_passed_on_at_once(text: bytes) -> None:
    scrubber = FrameScrubber((SECRET,))
    data = frame(TEXT, text, last=False)
    assert b"".join(scrubber.feed(bytes([byte])) for byte in data) == data


def test_a_secret_in_two_frames_is_found() -> None:
    out = scrubbed(frame(TEXT, b"key=" + SECRET[:7], last=False) + frame(CONTINUATION, SECRET[7:] + b"!"), [1] * 40)
    assert b"".join(payload for _, payload in read(out)) == b"key=[secret]**********!"


def test_a_control_frame_does_not_wait() -> None:
    scrubber = FrameScrubber(FORMS)
    first = frame(TEXT, b"key=" + SECRET[:7], last=False)
    assert scrubber.feed(first) == first[:-7]
    assert scrubber.feed(frame(PING, b"still there?")) == SECRET[:7] + frame(PING, b"still there?")
    assert scrubber.feed(frame(CLOSE, b"\x03\xe8")) == frame(CLOSE, b"\x03\xe8")


def test_frames_without_end_do_not_pile_up() -> None:
    scrubber = FrameScrubber(FORMS)
    scrubber.feed(frame(TEXT, SECRET[:7], last=False))
    empty = frame(CONTINUATION, b"", last=False)
    assert len(scrubber.feed(empty * 10_000)) > 9_000 * len(empty)


@pytest.mark.parametrize("first", [b"\xc1\x00", b"\xa1\x00", b"\x91\x00", b"\x81\x80"])
def test_what_cannot_be_searched_is_refused(first: bytes) -> None:
    with pytest.raises(Refusal, match="cannot be searched"):
        FrameScrubber(FORMS).feed(first)
