"""A secret never passes the scrubber, however the stream is cut."""

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subclaw.egress.secrets.scrub import SHORTEST_CHARACTERS, Scrubber, forms_of

_VALUES = st.text(min_size=SHORTEST_CHARACTERS, max_size=40)
_CUTS = st.lists(st.integers(1, 9), max_size=80)


def _scrubbed(value: str, data: bytes, cuts: list[int]) -> bytes:
    scrubber, out, rest = Scrubber(forms_of(value)), b"", data
    for cut in cuts:
        out += scrubber.feed(rest[:cut])
        rest = rest[cut:]
    return out + scrubber.feed(rest) + scrubber.flush()


@given(value=_VALUES, around=st.binary(max_size=20), cuts=_CUTS)
@settings(max_examples=400, deadline=None)
def test_no_form_passes_and_lengths_stay(value: str, around: bytes, cuts: list[int]) -> None:
    try:
        plain = value.encode()
    except UnicodeEncodeError:
        return
    for form in (plain, plain.hex().encode(), plain.hex().upper().encode(), quote(value, safe="").encode()):
        data = around + form + around
        out = _scrubbed(value, data, cuts)
        assert form not in out
        assert len(out) == len(data)


@pytest.mark.parametrize("before", ["", "u", "us", "AC0123:"])
@pytest.mark.parametrize("after", ["", "x", "xy"])
def test_base64_at_every_alignment(before: str, after: str) -> None:
    value = "s3cr?t>value/with+signs"
    core = base64.b64encode(value.encode())[4:-4]
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        encoded = encode((before + value + after).encode())
        out = _scrubbed(value, b'{"auth": "' + encoded + b'"}', [3] * 10)
        assert b"[secret]" in out
        assert core not in out
        kept = max(len(piece) for piece in out.removeprefix(b'{"auth": "').removesuffix(b'"}').split(b"*"))
        assert kept <= len(base64.b64encode(before.encode())) + len(b"[secret]") + 4


def test_json_escapes() -> None:
    value = 'quote"slash/back\\slash'
    for text in (json.dumps(value), json.dumps(value).replace("/", "\\/")):
        assert _scrubbed(value, text.encode(), [1] * 30).startswith(b'"[secret]*')


@given(data=st.binary(max_size=200), cuts=_CUTS)
def test_other_bytes_pass_unchanged(data: bytes, cuts: list[int]) -> None:
    assert _scrubbed("sk-live-0123456789", data, cuts) == data


def test_only_a_beginning_is_held_back() -> None:
    scrubber = Scrubber(forms_of("sk-live-0123456789"))
    assert scrubber.feed(b"data: hello\n\n") == b"data: hello\n\n"
    assert scrubber.feed(b"data: sk-live-01") == b"data: "
    assert scrubber.feed(b"xx\n\n") == b"sk-live-01xx\n\n"
    assert scrubber.flush() == b""
    assert forms_of("short") == ()
