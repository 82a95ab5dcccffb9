"""What providers' JSON is read with, and files of theirs: nothing is believed to be there, or to be small."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from subclaw.channels.downloads import gathered, require_at_most
from subclaw.channels.members import object_of, objects_of, read_object, text_of
from subclaw.core.errors import Invalid


def test_members_that_are_something_else_are_none() -> None:
    given = {"text": "hi", "number": 1, "object": {"a": 1}, "list": [{"b": 2}, "c", None, {"d": 4}], "null": None}
    assert [text_of(given, name) for name in ("text", "number", "null", "missing")] == ["hi", "", "", ""]
    assert [object_of(given, name) for name in ("object", "list", "missing")] == [{"a": 1}, {}, {}]
    assert objects_of(given, "list") == [{"b": 2}, {"d": 4}]
    assert objects_of(given, "object") == objects_of(given, "missing") == []


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b'"{}"', b"{", b"\xff\xfe", b"[" * 200_000, b"1" * 10_000], ids=lambda body: body[:4]
)
def test_a_body_that_is_no_object_is_none(body: bytes) -> None:
    assert read_object(body) is None


def test_an_object_is_read() -> None:
    assert read_object('{"a": "é"}'.encode()) == {"a": "é"}


def test_what_is_too_large_is_not_read_to_its_end() -> None:
    taken = []

    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"abc", b"def", b"ghi"):
            taken.append(piece)
            yield piece

    assert asyncio.run(gathered(pieces(), 9)) == b"abcdefghi"
    taken.clear()
    with pytest.raises(Invalid, match=r"larger than 5 bytes"):
        asyncio.run(gathered(pieces(), 5))
    assert taken == [b"abc", b"def"]
    require_at_most(5, 5)
