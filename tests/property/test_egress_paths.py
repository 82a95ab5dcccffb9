"""Paths: what rules see is what a careful server sees, and whatever could be read otherwise is said to be doubtful."""

import posixpath
from urllib.parse import quote, unquote

from hypothesis import example, given
from hypothesis import strategies as st

from subclaw.egress.http.paths import TARGET_LIMIT_BYTES, read_target

_PIECES = st.sampled_from(
    [
        *("/", "//", ".", "..", "%2e", "%2E%2e", "%2f", "%5c", "\\", ";", "%3b", "%25", "%252e", "%00", "%0a"),
        *("a", "admin", "%61", "%C3%A9", "%c0%ae", "~", "%7e", "?", "?a=/../b", "%3f", "%20", "+", "%", "%zz"),
        *("#", " ", "\x7f", "é"),
    ]
)
_TARGETS = st.lists(_PIECES, max_size=8).map(lambda pieces: "/" + "".join(pieces))
_SEGMENTS = st.lists(st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=1, max_size=8), max_size=5)


@given(target=_TARGETS)
@example("/public/../admin")
@example("/public/..;/admin")
@example("/public/%2e%2e/admin")
def test_what_is_not_doubtful_means_the_same_to_all(target: str) -> None:
    found = read_target(target.encode())
    if found is None or found.doubtful:
        return
    path = target.partition("?")[0]
    once = unquote(path, errors="strict")
    assert found.canonical == once
    assert unquote(once) == once or "%" not in path  # nothing is left to be decoded a second time
    assert posixpath.normpath(once).lstrip("/") == once.strip("/")
    assert once.isprintable()
    assert not set("\\;\0\r\n") & set(once)


@given(segments=_SEGMENTS, query=st.sampled_from(["", "?", "?a=b", "?/../x"]))
def test_an_ordinary_path_is_itself_however_it_is_escaped(segments: list[str], query: str) -> None:
    path = "/" + "/".join(segments)
    escaped = quote(path)
    everything = "".join(f"%{byte:02x}" if byte != 0x2F else "/" for byte in path.encode())
    for target in (escaped, everything):
        found = read_target((target + query).encode())
        assert found is not None
        assert (found.canonical, found.doubtful) == (path, False)


@given(target=st.binary(max_size=60))
def test_whatever_is_no_path_is_none(target: bytes) -> None:
    found = read_target(target)
    if found is not None:
        assert target.startswith(b"/")
        assert all(0x21 <= byte <= 0x7E and byte != 0x23 for byte in target)


def test_a_path_is_bounded() -> None:
    assert read_target(b"/" + b"a" * TARGET_LIMIT_BYTES) is None
    assert read_target(b"/" + b"a" * (TARGET_LIMIT_BYTES - 1)) is not None
