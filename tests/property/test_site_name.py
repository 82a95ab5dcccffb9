"""Names of sites, for any text: what comes out is a label, and disguises do not get by."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subclaw.core.errors import Invalid
from subclaw.core.site_name import (
    MOST_CHARACTERS,
    fold_name,
    looks_reserved,
    looks_trusted,
    neighbours,
    require_site_name,
    skeleton,
)
from subclaw.core.tenant import QUALITIES, THINGS, propose_names
from subclaw.routes.hostname import site_hostname

LOOKALIKES = {
    "a": "a4\u0430\u03b1",
    "e": "e3\u0435\u03b5",
    "i": "i1l\u0456",
    "l": "l1i",
    "o": "o0\u043e\u03bf",
    "s": "s5\u0455",
    "t": "t7",
    "b": "b8",
    "g": "g9",
    "p": "p\u0440\u03c1",
    "c": "c\u0441",
    "m": ("m", "rn", "mm"),
    "w": ("w", "vv"),
    "d": ("d", "cl"),
}
TRUSTED = ["paypal", "google", "microsoft", "amazon", "instagram", "coinbase", "admin", "login", "webmail", "console"]


@given(st.text(max_size=80))
def test_what_passes_is_a_label_that_passes_again(text: str) -> None:
    try:
        name = require_site_name(text)
    except Invalid:
        return
    assert site_hostname(name, "example.org") == f"{name}.example.org"
    assert require_site_name(name) == name
    assert not name.startswith("xn--")


@given(st.data(), st.sampled_from(TRUSTED))
def test_disguises_of_names_that_people_trust_are_refused(data: st.DataObject, name: str) -> None:
    letters = [data.draw(st.sampled_from(list(LOOKALIKES.get(letter, letter)))) for letter in name]
    disguise = letters[0]
    for letter in letters[1:]:
        disguise += data.draw(st.sampled_from(["", "-", "_", " ", "-" * 2])) + letter
    with pytest.raises(Invalid):
        require_site_name(disguise)


@given(st.data(), st.sampled_from(["paypal", "microsoft", "facebook", "coinbase"]))
def test_a_firms_name_among_others_is_refused(data: st.DataObject, name: str) -> None:
    word = st.sampled_from(["my", "help", "tea", "login", "x1"])
    with pytest.raises(Invalid):
        require_site_name(f"{data.draw(word)}-{name}{data.draw(st.sampled_from(['', '-', '2']))}{data.draw(word)}")


@given(st.text(alphabet="abcdefgilmnoprstuvwz0123456789-", min_size=1, max_size=40))
def test_a_skeleton_knows_neither_hyphens_nor_doubles(name: str) -> None:
    assert skeleton(name) == skeleton(name.replace("-", ""))
    assert skeleton(skeleton(name)) == skeleton(name) or "rn" in skeleton(name) or "cl" in skeleton(name)


@given(st.from_regex(r"[a-z][a-z0-9]{2,31}", fullmatch=True), st.integers())
def test_neighbours_are_labels_and_different(name: str, seed: int) -> None:
    found = neighbours(name, random.Random(seed))
    assert all(len(near) <= MOST_CHARACTERS and fold_name(near) == near for near in found)
    assert len(set(found)) >= len(found) - 1
    assert name not in found


def test_every_name_that_is_proposed_may_be_chosen() -> None:
    for quality in QUALITIES:
        for thing in THINGS:
            assert require_site_name(f"{quality}-{thing}") == f"{quality}-{thing}"
    for name in propose_names(random.Random(4)):
        assert require_site_name(name) == name


@pytest.mark.parametrize("name", ["apple-pie", "calm-otter-2", "adas-bakery", "target-practice", "stripes", "naomi"])
def test_ordinary_names_pass(name: str) -> None:
    assert not looks_reserved(name)
    assert not looks_trusted(name)


@pytest.mark.parametrize(
    "name", ["xn--80ak6aa92e", "XN--p1ai", "ab", "a" * 33, "3bears", "\u3053\u3093", "", "-", "www2"]
)
def test_what_is_no_name_is_refused_in_words(name: str) -> None:
    with pytest.raises(Invalid):
        require_site_name(name)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Ada's Bakery", "adas-bakery"),
        ("M\u00fcller", "muller"),
        ("caf\u00e9_bar", "cafe-bar"),
        (" tea.house! ", "tea-house"),
    ],
)
def test_a_name_is_taken_as_it_is_written(text: str, name: str) -> None:
    assert require_site_name(text) == name
