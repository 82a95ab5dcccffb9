"""A history is fitted to what a model takes."""

from hypothesis import given
from hypothesis import strategies as st

from subclaw.core.model import ModelSaid, UserSaid, Utterance
from subclaw.turns.prompt import fit

utterances = st.lists(
    st.one_of(
        st.builds(UserSaid, text=st.text(alphabet="u", max_size=20)),
        st.builds(ModelSaid, text=st.text(alphabet="m", max_size=20)),
    )
)


def length(utterance: Utterance) -> int:
    assert isinstance(utterance, UserSaid | ModelSaid)
    return len(utterance.text)


@given(utterances, st.integers(min_value=0, max_value=200))
def test_the_newest_part_is_kept_and_begins_with_the_person(said: list[Utterance], limit: int) -> None:
    kept = fit(said, limit)
    if not kept:
        assert not any(isinstance(utterance, UserSaid) for utterance in said)
        return
    assert isinstance(kept[0], UserSaid)
    assert list(kept) == said[len(said) - len(kept) :]
    people = [utterance for utterance in kept if isinstance(utterance, UserSaid)]
    assert len(people) == 1 or sum(map(length, kept)) <= limit


def test_all_is_kept_within_the_limit() -> None:
    said: list[Utterance] = [UserSaid(text="a"), ModelSaid(text="b"), UserSaid(text="c")]
    assert fit(said, 3) == tuple(said)
    assert fit(said, 2) == (UserSaid(text="c"),)
