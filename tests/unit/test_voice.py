"""A reply that is being said: what each listener is told of it, and what is taken back."""

import itertools
from dataclasses import replace

from subclaw.core.live import Words
from subclaw.core.manners import Occasion
from subclaw.turns.voice import Listener, Voice

NOTHING = Occasion(results=(), said="", before="", limit_characters=None)


def make_voice(occasion: Occasion = NOTHING) -> Voice:
    numbers = itertools.count(1)
    return Voice(
        session="ses_a",
        turn=7,
        occasion=occasion,
        number=lambda: next(numbers),
        is_wanted=lambda: True,
        has_news=lambda: None,
    )


def told(voice: Voice, listener: Listener) -> Words | None:
    voice.settle()
    return voice.words_for(listener)


def test_each_listener_is_told_what_it_was_not_told_yet() -> None:
    voice, one, other = make_voice(), Listener(until_s=0), Listener(until_s=0)
    assert voice.begins()
    assert told(voice, one) is None
    voice.hears("Hello you ")
    first = told(voice, one)
    assert first == Words(session="ses_a", turn=7, attempt=1, offset=0, text="Hello you")
    assert told(voice, one) is None
    voice.hears("Hello you there, how ")
    assert told(voice, one) == replace(first, offset=9, text=" there, how")
    assert told(voice, other) == replace(first, text="Hello you there, how")


def test_another_attempt_takes_back_what_was_told() -> None:
    voice, one, other = make_voice(), Listener(until_s=0), Listener(until_s=0)
    voice.begins()
    voice.hears("Hello you ")
    told(voice, one)
    voice.begins()
    assert told(voice, one) == Words(session="ses_a", turn=7, attempt=2, offset=0, text="")
    assert told(voice, one) is None
    assert told(voice, other) is None, "it was told nothing"
    voice.hears("Good day ")
    assert told(voice, one) == Words(session="ses_a", turn=7, attempt=2, offset=0, text="Good day")


def test_what_is_said_before_calls_is_told_whole_and_then_taken_back() -> None:
    voice, one = make_voice(), Listener(until_s=0)
    voice.begins()
    voice.hears("I look it up.")
    voice.calls()
    words = told(voice, one)
    assert words is not None
    assert words.text == "I look it up."
    assert voice.go_on_after_calls()
    assert told(voice, one) == replace(words, attempt=2, text="", after_calls=True)
    assert not voice.go_on_after_calls()
    voice.begins()
    voice.hears("It is there ")
    assert told(voice, one) == replace(words, attempt=2, text="It is there", after_calls=True)


def test_a_reply_without_manners_is_taken_back_and_not_told_further() -> None:
    line = "a line of the result that is copied word for word\n"
    voice, one = make_voice(replace(NOTHING, results=(line * 8,))), Listener(until_s=0)
    voice.begins()
    voice.hears("This is what I found: ")
    assert told(voice, one) is not None
    voice.hears("This is what I found: \n" + line * 5)
    back = told(voice, one)
    assert back is not None
    assert back.text == ""
    voice.hears("This is what I found: \n" + line * 6)
    assert told(voice, one) is None
    voice.begins()
    voice.hears("There are eight. So ")
    again = told(voice, one)
    assert again is not None
    assert again.text == "There are eight. So"


def test_one_that_is_too_long_for_its_channel_is_taken_back() -> None:
    voice, one = make_voice(replace(NOTHING, limit_characters=300)), Listener(until_s=0)
    voice.begins()
    voice.hears("word " * 50)
    assert told(voice, one) is not None
    voice.hears("word " * 90)
    back = told(voice, one)
    assert back is not None
    assert back.text == ""


def test_what_is_no_text_can_be_told() -> None:
    voice, one = make_voice(), Listener(until_s=0)
    voice.begins()
    voice.hears("a\0b \ud800 c ")
    words = told(voice, one)
    assert words is not None
    words.text.encode()
    assert "\0" not in words.text
