"""Whoever takes a control word may be killed before or after: it comes again, and what it says is done once."""

import itertools
from signal import SIGKILL

from tests.budgets import owner_rows
from tests.faults.control_intake import take_words
from tests.faults.forked import started

from subclaw.store.database import DatabaseAddress

RUN_S = 60.0
NEVER = 0
TOLD = "SELECT count(*), count(DISTINCT body) FROM event WHERE type = 'reply.queued'"
SENT = "SELECT split_part(text, ' ', 1) FROM outbox ORDER BY id"
IDENTITIES = "SELECT channel, number FROM identity"
CONSENT = "SELECT channel, state FROM consent ORDER BY id"


def test_a_control_word_is_taken_once_whoever_is_killed(address: DatabaseAddress) -> None:
    kills = 0
    for number in itertools.count(1):
        killed = [taken(address, dies_at) for dies_at in (number, NEVER)]
        assert owner_rows(address, TOLD) == [(5, 5)], f"killed at point {number}"
        assert owner_rows(address, SENT) == [("Linked:",), ("This",)]
        assert owner_rows(address, IDENTITIES) == [("web", 1)]
        assert owner_rows(address, CONSENT) == [("web", "in"), ("sms", "out"), ("sms", "in")]
        assert killed[1] is False
        kills += killed[0]
        if not killed[0]:
            break
        owner_rows(address, "DELETE FROM tenant")
        owner_rows(address, "DELETE FROM control_message")
        owner_rows(address, "DELETE FROM consent")
    assert kills == 10, "five words, before and after"


def taken(address: DatabaseAddress, dies_at: int) -> bool:
    """Have all that is said come (again); return whether whoever took it was killed."""
    process = started(take_words, address, dies_at)
    process.join(RUN_S)
    assert process.exitcode in (0, -SIGKILL), f"it ended with {process.exitcode}, or not at all"
    return process.exitcode != 0
