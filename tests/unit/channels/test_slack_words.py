"""Slack's way of writing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subclaw.channels.slack.words import quiet, read_words


@pytest.mark.parametrize(
    ("slacks", "read"),
    [
        ("a &amp; b &lt;c&gt; &amp;lt;", "a & b <c> &lt;"),
        ("see <https://example.org/a?b=1&amp;c=2>", "see https://example.org/a?b=1&c=2"),
        ("see <https://example.org|the page>", "see the page (https://example.org)"),
        ("see <http://example.org|example.org>", "see http://example.org"),
        ("<mailto:ann@example.org|ann@example.org>", "ann@example.org"),
        ("ask <@U0BEN> or <@U0EVE|eve> in <#C0ROOM|room> <#C0OTHER>", "ask <@U0BEN> or <@U0EVE> in #room #C0OTHER"),
        ("<!here> <!subteam^S1|@team> <!date^1392734382^{date}|18 Feb>", "@here @team 18 Feb"),
        ("<@U0BOT>: hello <@U0BOT>", "hello <@U0BOT>"),
        ("  <@U0BOT|agents>  hello", "hello"),
        ("1 < 2", "1 < 2"),
    ],
)
def test_a_text_is_read_as_people_do(slacks: str, read: str) -> None:
    assert read_words(slacks, "U0BOT") == read


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<!channel> <!Everyone|all> <!here>", "@channel @Everyone @here"),
        ("<!subteam^S0|@team> <!subteam^S0>", "@team @group"),
        ("<@U0BEN> stays", "<@U0BEN> stays"),
    ],
)
def test_an_agent_cannot_call_everybody(text: str, said: str) -> None:
    assert quiet(text) == said


@given(st.text(alphabet="<!chanel>|@subtm^S0 ", max_size=60))
def test_what_is_made_quiet_gets_no_longer(text: str) -> None:
    assert len(quiet(text)) <= len(text)
