"""A log says where something went wrong, and quotes nobody."""

import asyncio
import logging
from collections.abc import Iterator

import pytest

from subclaw.logs import log_to_stderr

DEADLINE_S = 10


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    handlers, level = [*logging.root.handlers], logging.root.level
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def test_an_exceptions_message_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    words = "somebody's " + "canary"
    log_to_stderr()
    try:
        raise ValueError(words)
    except ValueError:
        logging.getLogger("subclaw.test").exception("it failed")
    said = capsys.readouterr().err
    assert "it failed" in said
    assert "ValueError" in said
    assert "test_logs.py" in said
    assert words not in said


def test_lines_are_written_together_in_order_and_a_warning_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("subclaw.test")

    def said() -> list[str]:
        return [line.rpartition(": ")[2] for line in capsys.readouterr().err.splitlines()]

    async def scenario() -> None:
        log_to_stderr()
        log.info("one")
        log.info("two")
        assert said() == []
        log.warning("three")
        assert said() == ["one", "two", "three"]
        log.info("four")
        async with asyncio.timeout(DEADLINE_S):
            while not (found := said()):
                await asyncio.sleep(0.01)
        assert found == ["four"]
        log.info("five")

    asyncio.run(scenario())
    log.info("six")
    assert said() == ["five", "six"]
