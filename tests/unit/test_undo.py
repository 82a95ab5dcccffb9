"""Which checkpoint a turn is undone by."""

from datetime import UTC, datetime

import pytest

from subclaw.core.errors import NotFound
from subclaw.core.machine import BEFORE_ROLL_BACK, Checkpoint
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller
from subclaw.tools.undo import before_turn, label_of, last_undone


def kept(*labels: str) -> tuple[Checkpoint, ...]:
    return tuple(Checkpoint(label=label, made_at=datetime(2026, 1, 1, tzinfo=UTC), size_bytes=1) for label in labels)


def test_turn_before_this_one_is_undone() -> None:
    assert before_turn(kept("call-1", "call-2", "call-3"), "call-3", 1).label == "call-2"
    assert before_turn(kept("call-1", "call-2"), "call-3", 1).label == "call-2"


def test_further_back() -> None:
    assert before_turn(kept("call-1", "call-2", "call-3"), "call-3", 2).label == "call-1"
    with pytest.raises(NotFound, match="2 earlier"):
        before_turn(kept("call-1", "call-2", "call-3"), "call-3", 3)


def test_what_was_undone_is_no_turn_and_can_be_brought_back() -> None:
    assert before_turn(kept("call-1", BEFORE_ROLL_BACK), "call-3", 1).label == "call-1"
    assert last_undone(kept("call-1", BEFORE_ROLL_BACK)).label == BEFORE_ROLL_BACK
    with pytest.raises(NotFound, match="brought back"):
        last_undone(kept("call-1"))


def test_label_is_one_that_a_file_can_have() -> None:
    caller = Caller(tenant_id=TenantId(1), conversation_id=1, call_id="call_2", turn_id="call_0af3")
    assert label_of(caller) == "call-0af3"
