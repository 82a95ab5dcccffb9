"""Patterns of paths: they match what they say, and no path makes the gateway think for long."""

from functools import cache
from time import process_time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from subclaw.core.policy import Opening, Rule, decide_host, decide_request

ENOUGH_S = 1.0


def matches(pattern: str, path: str) -> bool:
    opening = decide_host([Rule(host="api.test", paths=(pattern,))], "api.test", 443)
    assert isinstance(opening, Opening)
    return isinstance(decide_request(opening, "GET", path), Rule)


def matches_slowly(pattern: str, path: str) -> bool:
    """Match by trying everything."""

    @cache
    def from_here(pattern: str, path: str) -> bool:
        if not pattern:
            return not path
        if pattern[0] == "*":
            return any(from_here(pattern[1:], path[start:]) for start in range(len(path) + 1))
        if pattern.startswith("/{x}"):
            end = path.find("/", 1) if path.find("/", 1) > 0 else len(path)
            return path[:1] == "/" and any(from_here(pattern[4:], path[stop:]) for stop in range(2, end + 1))
        return path[:1] == pattern[0] and from_here(pattern[1:], path[1:])

    return from_here(pattern, path)


patterns = st.lists(st.sampled_from(["*", "a", "b", "/a", "/b", "/", "/{x}/", "/{x}/a"]), max_size=7).map("".join)


@given(pattern=patterns, path=st.text("ab/", max_size=14))
@example(pattern="/*a/{x}/a", path="/a/a/b/a")
@example(pattern="*/{x}/a*/{x}/b", path="/b/a/b/a/b/b")
@settings(max_examples=1_500, deadline=None)
def test_a_pattern_matches_what_it_says(pattern: str, path: str) -> None:
    assert matches(f"/{pattern}", f"/{path}") == matches_slowly(f"/{pattern}", f"/{path}")


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("/*a*a*a*a*a*a*b", "/" + "a" * 16_000),
        ("/*/x*/x*/x*/y", "/x" * 8_000),
        ("*/{x}/{x}/{x}*/{x}/b", "/a" * 8_000),
        ("/{x}/{x}/{x}/b", "/" + "a" * 16_000),
    ],
)
def test_no_path_takes_long(pattern: str, path: str) -> None:
    began_s = process_time()
    assert not matches(pattern, path)
    assert process_time() - began_s < ENOUGH_S
