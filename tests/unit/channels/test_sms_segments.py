"""How many segments a text is sent as."""

import pytest

from subclaw.channels.sms.segments import count_segments


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("a", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("a" * 69 + "ş", 1),
        ("a" * 70 + "ş", 2),
        ("🙂" * 35, 1),
        ("🙂" * 36, 2),
        ("", 0),
    ],
)
def test_segments(text: str, segments: int) -> None:
    assert count_segments(text) == segments


def test_a_text_of_several_messages_has_the_segments_of_each() -> None:
    assert count_segments("a" * 1600 + " " + "a" * 161) == 11 + 2
