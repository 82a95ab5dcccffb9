"""Markdown taken apart, cut, and written anew."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subclaw.channels.markdown import plain, split_markdown
from subclaw.channels.telegram.formatting import telegram_html
from subclaw.channels.text import size_units
from subclaw.testing.channels.telegram import read_html


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("hello", "hello"),
        ("a < b & c > d", "a &lt; b &amp; c &gt; d"),
        ("**bold** and *soft* and ~~gone~~", "<b>bold</b> and <i>soft</i> and <s>gone</s>"),
        ("***both***", "<b><i>both</i></b>"),
        ("`a<b`", "<code>a&lt;b</code>"),
        ("snake_case_name 2 * 3 * 4", "snake_case_name 2 * 3 * 4"),
        ("# Title\nwords", "<b>Title</b>\n\nwords"),
        ("one\ntwo", "one\ntwo"),
        ("one\n\ntwo", "one\n\ntwo"),
        ("- a\n- b\n  - c\n- d", "• a\n• b\n  • c\n• d"),
        ("3. a\n4. b", "3. a\n4. b"),
        ('[site](https://a.example/?x=1&y="2")', '<a href="https://a.example/?x=1&amp;y=%222%22">site</a>'),
        ("[bad](javascript:alert)", "[bad](javascript:alert)"),
        ("<b>not ours</b> &amp; <script>", "&lt;b&gt;not ours&lt;/b&gt; &amp;amp; &lt;script&gt;"),
        ("```py\nif a < b:\n    pass\n```", '<pre><code class="language-py">if a &lt; b:\n    pass</code></pre>'),
        ('```"><b>\nx\n```', "<pre>x</pre>"),
        ("> quoted\n> more", "<blockquote>quoted\nmore</blockquote>"),
        ("a\n\n---\n\nb", "a\n\n———\n\nb"),
        ("    not code", "not code"),
        ("", ""),
    ],
)
def test_telegrams_html(text: str, html: str) -> None:
    assert telegram_html(text) == html


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("**Hi** [there](https://a.example)", "Hi there (https://a.example)"),
        ("<https://a.example>", "https://a.example"),
        ("1. a\n2. `b`", "1. a\n2. b"),
    ],
)
def test_plain_words(text: str, shown: str) -> None:
    assert plain(text) == shown


pieces = st.sampled_from(
    [
        "```\n",
        "~~~~\n",
        "```python\n",
        "\n",
        "\n\n",
        "# ",
        "- ",
        "1. ",
        "> ",
        "*",
        "**",
        "_",
        "~~",
        "`",
        "[a](",
        "b)",
        "<",
        "&",
    ]
)
texts = st.lists(st.one_of(pieces, st.text(max_size=20)), max_size=40).map("".join)


@given(text=texts)
def test_telegram_takes_whatever_it_is_given(text: str) -> None:
    shown = read_html(telegram_html(text))
    assert size_units(shown) <= size_units(text) + text.count("\n") + 2


@given(text=texts, limit=st.integers(min_value=100, max_value=200))
def test_parts_fit(text: str, limit: int) -> None:
    for part in split_markdown(text, limit):
        assert 0 < size_units(part) <= limit


def test_code_that_is_cut_is_code_in_each_part() -> None:
    text = "Before.\n\n```python\n" + "\n".join(f"line({number})" for number in range(100)) + "\n```\n\nAfter."
    parts = split_markdown(text, 300)
    assert len(parts) > 3
    assert all(telegram_html(part).count("<pre>") == 1 for part in parts[1:-1])
    lines = [line for part in parts for line in part.split("\n") if line.startswith("line(")]
    assert lines == [f"line({number})" for number in range(100)]
    assert telegram_html(parts[-1]).endswith("After.")
