"""Whatever a reply holds, its parts fit and nothing but white space is lost."""

from hypothesis import given
from hypothesis import strategies as st

from subclaw.channels.text import size_units, split_text

words = st.one_of(
    st.text(alphabet=st.characters(codec="utf-8"), max_size=40),
    st.text(alphabet=" \n\t.!?a", max_size=40),
    st.sampled_from(["\n\n", "https://a.example/path?q=1", "\N{MAN}\u200d\N{WOMAN}", "שלום", "🎉" * 9, "e\u0301"]),
)
texts = st.lists(words, max_size=30).map("".join)


def squeezed(text: str) -> str:
    return "".join(text.split())


@given(text=texts, limit=st.integers(min_value=2, max_value=60))
def test_parts_fit_and_join_to_the_text(text: str, limit: int) -> None:
    parts = split_text(text, limit)
    assert squeezed("".join(parts)) == squeezed(text)
    for part in parts:
        assert part
        assert part == part.strip()
        assert size_units(part) <= limit


@given(text=texts)
def test_what_fits_is_not_cut(text: str) -> None:
    parts = split_text(text, max(2, size_units(text)))
    assert parts == ([text.strip()] if text.strip() else [])
