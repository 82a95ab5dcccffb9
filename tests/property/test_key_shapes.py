"""Whatever is around a key, it is removed, nothing else is, and what is left holds no more to remove."""

import string

from hypothesis import given, settings
from hypothesis import strategies as st

from subclaw.core.key_shapes import find_keys, redact

ALNUM = string.ascii_letters + string.digits
WORDS = st.text(alphabet=string.ascii_lowercase + " .,!?\n", max_size=60)
TOKENS = st.text(alphabet=ALNUM, min_size=36, max_size=36).map("ghp_".__add__).filter(lambda key: "subclaw" not in key)
PIECES = (
    *("password: ", "token=", "Bearer ", "://", "@", ":", '"', " ", "\n", ".", "a1B2c3D4e5F6g7H8", "subclaw"),
    *("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "eyJ", "sk-", "ghp_", "AKIA", "SG.", "AC" + "0" * 32),
)
SOUP = st.lists(st.sampled_from(PIECES) | st.text(max_size=20), max_size=40).map("".join)


@given(before=WORDS, key=TOKENS, after=WORDS)
@settings(deadline=None)
def test_a_key_among_words_is_removed_and_the_words_stay(before: str, key: str, after: str) -> None:
    redacted, kinds = redact(f"{before} {key} {after}")
    assert redacted == f"{before} [a GitHub token was removed] {after}"
    assert kinds == ("a GitHub token",)


@given(text=SOUP)
@settings(deadline=None, max_examples=500)
def test_what_was_found_is_in_order_apart_and_gone(text: str) -> None:
    found = find_keys(text)
    ends = [0, *(one.end for one in found)]
    assert all(before <= one.start < one.end <= len(text) for before, one in zip(ends, found, strict=False))
    redacted, kinds = redact(text)
    assert set(kinds) == {one.kind for one in found}
    left = "".join(text[end : one.start] for end, one in zip(ends, found, strict=False)) + text[ends[-1] :]
    for kind in kinds:
        redacted = redacted.replace(f"[{kind} was removed]", "")
    assert redacted == left or "was removed]" in text


@given(text=SOUP)
@settings(deadline=None, max_examples=500)
def test_redacting_again_removes_nothing(text: str) -> None:
    once, _ = redact(text)
    assert redact(once) == (once, ())
