"""What a stranger's words are taken for, who may come in, and what is said."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subclaw.agent_file import parse_agent
from subclaw.core.channel import Address
from subclaw.core.errors import Invalid
from subclaw.core.onboarding import (
    REFUSALS,
    Agrees,
    Entry,
    Hello,
    Need,
    OnboardingSettings,
    Refusal,
    Wish,
    greeting,
    heard,
    invite_hash,
    need_of,
    new_invite,
    question,
    take_invites,
)

CODE = "7KQF-9M2X-4TRD"


@pytest.mark.parametrize(
    "text", ["hi", "Hello!", "hey there", "HOLA", "good morning.", "😀", "?", "👋🏽", CODE, f"hi {CODE}"]
)
def test_a_mere_hello(text: str) -> None:
    assert isinstance(heard(text), Hello)


@pytest.mark.parametrize("text", ["OK", "ok.", "Okay!", "👍", "Yes please", "sounds good", "that's fine"])
def test_an_agreement(text: str) -> None:
    assert isinstance(heard(text), Agrees)


@pytest.mark.parametrize(
    ("text", "wish"),
    [
        ("ada", Wish("ada", plain=True)),
        ("Ada.", Wish("Ada", plain=True)),
        ("call it ada", Wish("ada", plain=True)),
        ("let's use ada-tea!", Wish("ada-tea", plain=True)),
        ("name: ada", Wish("ada", plain=False)),
        ("Name = Ada's Bakery.", Wish("Ada's Bakery", plain=False)),
        ("/name ada", Wish("ada", plain=False)),
        ('name: "ada"', Wish("ada", plain=False)),
    ],
)
def test_a_name(text: str, wish: Wish) -> None:
    assert heard(text) == wish


@pytest.mark.parametrize(
    "text",
    [
        "build me an invoice generator",
        "OK 4821",
        "stop",
        "no",
        "thanks!",
        "name:",
        "name: ada\nand a page about tea",
        "hello, who are you and what can you do for my stand?",
        "x" * 61,
        "name ideas",
    ],
)
def test_what_is_for_the_agent(text: str) -> None:
    assert heard(text) is None


@given(st.text(max_size=100))
def test_anything_may_be_heard(text: str) -> None:
    said = heard(text)
    assert said is None or isinstance(said, Hello | Agrees | Wish)


@given(st.integers())
def test_a_code_is_found_however_it_is_written(seed: int) -> None:
    code = new_invite(random.Random(seed))
    for written in (code, code.lower(), code.replace("-", ""), code.replace("-", " "), code.replace("-", "\u2013")):
        assert take_invites(f"make me a page {written}") == ("make me a page", (invite_hash(code),))
        assert take_invites(written) == ("", (invite_hash(code),))


def test_what_is_no_code_is_left_as_it_is() -> None:
    for text in (
        "build me an invoice generator",
        "make that page nice",
        "replacements",
        "x" + CODE,
        CODE + "Z",
        "call 5550 1001 2301",
    ):
        assert take_invites(text) == (text, ())


@pytest.mark.parametrize(
    ("entry", "address", "need"),
    [
        (Entry.OPEN, "+1555", Need.NOTHING),
        (Entry.INVITE, "+1555", Need.INVITE),
        (Entry.INVITE, "+4955", Need.NOTHING),
        (Entry.LISTED, "+1555", Need.LISTING),
        (Entry.LISTED, "+4955", Need.NOTHING),
    ],
)
def test_what_a_stranger_needs(entry: Entry, address: str, need: Need) -> None:
    settings = OnboardingSettings(entry=entry, allow=("SMS:+49*",))
    assert need_of(settings, Address(channel="sms", address=address)) is need


def test_a_greeting_is_two_lines_and_a_question_has_one_more() -> None:
    about = OnboardingSettings().about
    url = "http://calm-otter.example.org/"
    assert greeting(about, url).count("\n") == 1
    assert question(about, "calm-otter", url).splitlines()[1:] == [
        f"You have a site too: {url}",
        "Text a name you like for it, or OK for calm-otter.",
    ]


def test_nothing_that_is_said_changes_the_encoding_of_a_text_message() -> None:
    said = [*REFUSALS.values(), greeting(OnboardingSettings().about, "http://a.b/"), question("", "a", "b")]
    assert all(text.isascii() for text in said)
    assert set(REFUSALS) == set(Refusal)


def test_the_operators_settings_are_read() -> None:
    text = """
    [onboarding]
    entry = "invite"
    allow = ["sms:+49*"]
    new_tenants_an_hour = 5
    free_messages = 10
    greet = false
    """
    assert parse_agent(text).onboarding == OnboardingSettings(
        entry=Entry.INVITE, allow=("sms:+49*",), new_tenants_an_hour=5, free_messages=10, greet=False
    )
    assert parse_agent("").onboarding == OnboardingSettings()


@pytest.mark.parametrize(
    "line", ['entry = "everybody"', 'allow = ["+49*"]', "new_tenants_an_hour = -1", "free = 3", 'about = ""']
)
def test_settings_that_cannot_be_are_told(line: str) -> None:
    with pytest.raises(Invalid, match="onboarding"):
        parse_agent(f"[onboarding]\n{line}")
