"""A log says where something went wrong, and quotes nobody."""

import logging

import pytest

from subclaw.logs import log_to_stderr


def test_an_exceptions_message_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    words = "somebody's " + "canary"
    handlers, level = logging.root.handlers, logging.root.level
    try:
        log_to_stderr()
        try:
            raise ValueError(words)
        except ValueError:
            logging.getLogger("subclaw.test").exception("it failed")
    finally:
        logging.root.handlers = handlers
        logging.root.setLevel(level)
    said = capsys.readouterr().err
    assert "it failed" in said
    assert "ValueError" in said
    assert "test_logs.py" in said
    assert words not in said
