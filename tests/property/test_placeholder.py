"""Placeholders of any value: its length and look, safe anywhere in a URL, and nothing of it but a prefix."""

import re
from random import Random, SystemRandom

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subclaw.core.placeholder import MARKER, placeholder_for

PREFIXES = ("ghp_", "github_pat_", "sk-", "sk-ant-", "xoxb-", "AKIA", "SG.", "hf_", "AIza", "whsec_", "")
values = st.one_of(
    st.text(min_size=1, max_size=200),
    st.tuples(st.sampled_from(PREFIXES), st.from_regex(r"[A-Za-z0-9_.-]{1,100}", fullmatch=True)).map("".join),
)


@given(value=values, random=st.randoms(use_true_random=False))
def test_a_placeholder_can_stand_wherever_a_value_can(value: str, random: Random) -> None:
    placeholder = placeholder_for(value, random)
    before, marker, rest = re.split(f"({MARKER})", placeholder, maxsplit=1, flags=re.IGNORECASE)
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", placeholder)
    assert value.startswith(before)
    assert marker in (MARKER, MARKER.upper())
    assert len(placeholder) == max(len(value), len(before) + len(marker) + len(rest))
    assert len(rest) >= 14
    if len(placeholder) > len(value):
        assert len(rest) <= 16, "no longer than it takes"


@given(value=st.from_regex(r"[A-Za-z0-9]{20,60}", fullmatch=True), seeds=st.sets(st.integers(), min_size=2, max_size=2))
def test_two_placeholders_of_a_value_differ_and_none_gives_it_away(value: str, seeds: set[int]) -> None:
    first, second = (placeholder_for(value, Random(seed)) for seed in seeds)
    assert first != second
    assert not any(value[start : start + 10] in first for start in range(len(value) - 10))


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        ("ghp_" + 36 * "aB3", "ghp_subclaw[A-Za-z0-9]{101}"),
        ("github_pat_" + 71 * "x", "github_pat_subclaw[a-z0-9]{64}"),
        ("sk-ant-api03-" + 90 * "aB", "sk-ant-subclaw[A-Za-z0-9]{179}"),
        ("AKIAIOSFODNN7EXAMPLE", "AKIASUBCLAW[A-Z0-9]{16}"),
        ("SG.aaaaaaaaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbb", "SG.subclaw[a-z0-9]{41}"),
        ("shpat_" + 32 * "a", "shpat_subclaw[a-z0-9]{25}"),
        ("longerthaneight_" + 32 * "a", "subclaw[a-z0-9]{41}"),
        ("my-secret", "subclaw[a-z0-9]{16}"),
        ("hunter2", "subclaw[a-z0-9]{16}"),
        ("1234", "SUBCLAW[A-Z0-9]{16}"),
    ],
)
def test_known_keys_keep_their_looks(value: str, shape: str) -> None:
    assert re.fullmatch(shape, placeholder_for(value, SystemRandom()))
