"""One spelling for a hostname of the world outside, and nothing that is something else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subclaw.core.errors import Invalid
from subclaw.core.hostname import full_hostname


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("api.test", "api.test"),
        ("API.Example.COM.", "api.example.com"),
        ("Bücher.example", "xn--bcher-kva.example"),
        ("faß.de", "xn--fa-hia.de"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ("\uff41\uff50\uff49.test", "api.test"),  # full-width letters
        ("1.2.3.4.example", "1.2.3.4.example"),
        ("xn--a.example", "xn--a.example"),
        ("a" * 63 + "." + "b" * 63, "a" * 63 + "." + "b" * 63),
        ("a." * 126 + "b", "a." * 126 + "b"),
    ],
)
def test_names(text: str, name: str) -> None:
    assert full_hostname(text) == name
    assert full_hostname(name) == name


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            ".",
            "com",
            "localhost",
            "a..b",
            ".a.b",
            "a.b..",
            "-a.b",
            "a-.b",
            "a_b.c",
            "*.a.b",
            "a b.c",
            " a.b",
            "a.b\n",
        ),
        *("a.b:443", "a.b/c", "a%2eb.c", "user@a.b", "a.b\0", "a\0.b", "a.b?", "a.b#", "{a}.b", "a\\.b", "a.\u200d.b"),
        *("1.2.3.4", "127.1", "0x7f.1", "1.2.3.4.", "a.0x", "::1", "[::1]", "\uff11\uff12\uff17.0.0.1", "127。0。0。1"),
        *("a" * 64 + ".b", "a." * 126 + "bc", "a." * 5_000 + "b", "ü" * 60 + ".de", "☃.net", "\udcff.test"),
    ],
)
def test_other_things_are_refused(text: str) -> None:
    with pytest.raises(Invalid):
        full_hostname(text)


@given(text=st.one_of(st.text(max_size=40), st.from_regex(r"(\w{1,4}[-.。]?){1,8}", fullmatch=True)))
def test_whatever_is_given_is_a_name_or_invalid(text: str) -> None:
    try:
        name = full_hostname(text)
    except Invalid:
        return
    assert name == full_hostname(name)
    assert name.isascii()
    assert name == name.lower()
