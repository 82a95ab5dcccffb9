"""Linking: codes, and what is said of channels."""

import random

import pytest

from subclaw.core.channel import Address
from subclaw.core.consent import OPT_IN_WORDS, OPT_OUT_WORDS, Said, what_is_said
from subclaw.core.control import CodeSaid, LinkWanted, UnlinkWanted, read_control
from subclaw.core.key_shapes import redact
from subclaw.core.linking import ALPHABET, ONLY_ONE, NumberedWay, choose_unlinked, list_words, new_code, show_code

WEB, PHONE = Address(channel="web", address="a" * 40), Address(channel="sms", address="+15550104567")
WAYS = [
    NumberedWay(number=1, address=WEB, conversation_id=10),
    NumberedWay(number=4, address=PHONE, conversation_id=11),
]


def test_no_two_characters_of_a_code_look_alike() -> None:
    assert not set(ALPHABET) & set("01258OILZSBUAEY")


@pytest.mark.parametrize("text", ["link", "/link", " LINK ", "Link.", "link!"])
def test_the_word_to_link(text: str) -> None:
    assert read_control("telegram", text) == LinkWanted()


@pytest.mark.parametrize(
    ("text", "number"), [("unlink", None), ("/unlink", None), ("Unlink 2", 2), ("/unlink   12.", 12)]
)
def test_the_word_to_unlink(text: str, number: int | None) -> None:
    assert read_control("sms", text) == UnlinkWanted(number=number)


@pytest.mark.parametrize("text", ["K7MQ-4XWP", "k7mq4xwp", " K7MQ 4XWP\n", "K7MQ–4XWP"])  # noqa: RUF001
def test_a_code_is_known_however_it_is_written(text: str) -> None:
    assert read_control("web", text) == CodeSaid(code="K7MQ4XWP")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "link me to the page",
            "link 2",
            "unlink it",
            "unlink 2 3",
            "unlinked",
            "hyperlink",
            "//link",
            "unlink 1234567",
        ),
        *("OK 4821", "NO 4821", "sandwich", "pathways", "12345678", "K7MQ-4XW", "K7MQ-4XWPP", "K7MQ-4XW0", "", "stop"),
    ],
)
def test_everything_else_is_for_the_agent(text: str) -> None:
    assert read_control("web", text) is None


def test_a_code_is_not_taken_for_a_key() -> None:
    code = show_code(new_code(random.SystemRandom()))
    assert redact(code) == (code, ())


@pytest.mark.parametrize("channel", ["sms", "whatsapp", "imessage", "email"])
def test_the_words_of_consent_are_binding_where_there_is_a_law(channel: str) -> None:
    assert {what_is_said(channel, word) for word in OPT_OUT_WORDS} == {Said.OUT}
    assert {what_is_said(channel, word) for word in OPT_IN_WORDS} == {Said.IN}
    assert read_control(channel, " stop\n") is Said.OUT
    assert read_control(channel, "Yes") is Said.IN_IF_OUT
    assert (read_control(channel, "help"), read_control(channel, "INFO")) == (Said.HELP, Said.HELP)
    assert [read_control(channel, text) for text in ("stop it", "please help", "OK 4821", "stop.", "/stop")] == [
        None
    ] * 5


@pytest.mark.parametrize("channel", ["web", "telegram", "slack", "discord", "matrix"])
def test_elsewhere_they_are_words(channel: str) -> None:
    assert [read_control(channel, word) for word in (*OPT_OUT_WORDS, *OPT_IN_WORDS, "YES", "HELP")] == [None] * 12


def test_channels_are_listed_by_numbers_with_their_addresses_masked() -> None:
    words = list_words(WAYS, PHONE)
    assert words.splitlines()[1:3] == ["1. web …aaaa", "4. sms +1…4567 (this one)"]
    assert list_words(WAYS[:1], WEB) == ONLY_ONE


def test_what_is_unlinked_is_the_one_of_that_number() -> None:
    assert choose_unlinked(WAYS, 4) == WAYS[1]
    assert "no channel 2" in str(choose_unlinked(WAYS, 2))
    assert choose_unlinked(WAYS[:1], 1) == ONLY_ONE, "the last one would leave an agent that nobody reaches"
