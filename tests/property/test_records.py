"""Streams of the host's API: what goes in comes out, in whatever pieces, and nothing cut off is taken for whole."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subclaw.core.errors import NotFound, SubclawError, Unavailable
from subclaw.machines.wire import LENGTH, RECORD_LIMIT_BYTES, error_fields, last_record, record, records

contents = st.lists(st.binary(min_size=1, max_size=60), max_size=8)
ends = st.dictionaries(st.sampled_from(["ended", "output_bytes"]), st.integers() | st.none())


def taken_out(data: bytes, cuts: list[int]) -> list[bytes | dict[str, Any]]:
    """Take a stream out of its records that comes in pieces, cut at the given places."""
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})

    async def pieces() -> AsyncIterator[bytes]:
        for start, end in itertools.pairwise(places):
            yield data[start:end]

    async def all_records() -> list[bytes | dict[str, Any]]:
        return [piece async for piece in records(pieces())]

    return asyncio.run(all_records())


@given(contents, ends, st.lists(st.integers(min_value=0), max_size=20))
def test_records_come_out_as_they_went_in(sent: list[bytes], end: dict[str, Any], cuts: list[int]) -> None:
    data = b"".join(map(record, sent)) + last_record(end)
    assert taken_out(data, cuts) == [*sent, end]


@given(contents, st.integers(min_value=0))
def test_stream_that_is_cut_off_is_not_whole(sent: list[bytes], cut: int) -> None:
    data = b"".join(map(record, sent)) + last_record({"ended": "exited"})
    with pytest.raises(Unavailable):
        taken_out(data[: cut % len(data)], [])


@given(st.binary(max_size=200))
def test_garbage_is_an_error_or_a_stream(data: bytes) -> None:
    try:
        *pieces, end = taken_out(data, [])
    except SubclawError:
        return
    assert all(isinstance(piece, bytes) for piece in pieces)
    assert isinstance(end, dict)


def test_error_that_ends_a_stream_is_raised() -> None:
    with pytest.raises(NotFound, match="public"):
        taken_out(record(b"x") + last_record(error_fields(NotFound("public"))), [])


@pytest.mark.parametrize("end", [b"", b"[]", b"x", b"[" * 100_000, b'{"error": "SystemExit"}'])
def test_end_that_makes_no_sense(end: bytes) -> None:
    with pytest.raises(Unavailable):
        taken_out(LENGTH.pack(0) + end, [])


def test_records_are_bounded() -> None:
    with pytest.raises(Unavailable):
        taken_out(LENGTH.pack(RECORD_LIMIT_BYTES + 1), [])
    with pytest.raises(Unavailable):
        taken_out(LENGTH.pack(0) + bytes(RECORD_LIMIT_BYTES + 5), [])
