"""The words of text messages."""

import pytest

from subclaw.channels.sms.words import is_reserved


@pytest.mark.parametrize("text", ["STOP", " stop\n", "Unsubscribe", "HELP", "start", "CANCEL"])
def test_words_that_twilio_answers(text: str) -> None:
    assert is_reserved(text)


@pytest.mark.parametrize("text", ["stop it", "please help", "", "OK 4821", "stop."])
def test_words_that_the_agent_answers(text: str) -> None:
    assert not is_reserved(text)
