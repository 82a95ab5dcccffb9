"""What happens with a schedule that is due: in time, late, left out, and when it comes again."""

from datetime import UTC, datetime, timedelta

import pytest

from subclaw.core.firing import MISSED_AFTER, Due, decide_firing, failure_words, say_time
from subclaw.core.recurrence import Recurrence
from subclaw.core.schedule import IfMissed

DUE_AT = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
"""In Berlin it is Saturday, 09:00."""

DAILY = Recurrence(rule="FREQ=DAILY", time_zone="Europe/Berlin", wall=datetime(2026, 11, 21, 9, 0))


def due(recurrence: Recurrence | None = None, if_missed: IfMissed = IfMissed.LATE, zone: str = "Europe/Berlin") -> Due:
    return Due(id=7, due_at=DUE_AT, if_missed=if_missed, time_zone=zone, recurrence=recurrence)


@pytest.mark.parametrize("late", [timedelta(0), timedelta(minutes=1), MISSED_AFTER])
@pytest.mark.parametrize("if_missed", list(IfMissed))
def test_in_time_it_happens_as_it_is(late: timedelta, if_missed: IfMissed) -> None:
    firing = decide_firing(due(if_missed=if_missed), DUE_AT + late)
    assert (firing.happens, firing.preface, firing.next, firing.missed) == (True, "", None, 0)


def test_late_it_says_so() -> None:
    firing = decide_firing(due(), DUE_AT + timedelta(minutes=6))
    assert (firing.happens, firing.preface, firing.missed) == (True, "This was due at 09:00:\n", 0)
    later = decide_firing(due(), DUE_AT + timedelta(days=2))
    assert later.preface == "This was due at 09:00 on Saturday, 21 November:\n"
    assert decide_firing(due(zone=""), DUE_AT + timedelta(hours=1)).preface == "This was due at 08:00 UTC:\n"


def test_or_it_is_left_out() -> None:
    firing = decide_firing(due(if_missed=IfMissed.SKIP), DUE_AT + timedelta(minutes=6))
    assert (firing.happens, firing.preface, firing.next, firing.missed) == (False, "", None, 1)


def test_what_comes_again_comes_once_for_all_that_was_missed() -> None:
    now = DUE_AT + timedelta(days=3, hours=2)
    late = decide_firing(due(DAILY), now)
    assert late.preface == "This was due at 09:00 on Saturday, 21 November, and 3 more times since:\n"
    assert late.next is not None
    assert late.next.due_at == DUE_AT + timedelta(days=4)
    assert late.missed == 3
    skipped = decide_firing(due(DAILY, IfMissed.SKIP), now)
    assert (skipped.happens, skipped.next, skipped.missed) == (False, late.next, 4)


def test_what_was_missed_counts_and_may_have_been_the_last() -> None:
    counted = Recurrence(rule="FREQ=DAILY", time_zone="Europe/Berlin", wall=DAILY.wall, left=3)
    assert decide_firing(due(counted), DUE_AT + timedelta(days=1, hours=1)).next is not None
    over = decide_firing(due(counted), DUE_AT + timedelta(days=9))
    assert (over.happens, over.next, over.missed) == (True, None, 2)


def test_a_rule_that_cannot_be_read_any_more_happens_once_more_and_fails() -> None:
    broken = Recurrence(rule="FREQ=NEVER", time_zone="Europe/Berlin", wall=DAILY.wall)
    firing = decide_firing(due(broken), DUE_AT)
    assert (firing.happens, firing.next, firing.failure) == (True, None, "rule")


def test_a_person_reads_times_in_their_zone() -> None:
    now = DUE_AT + timedelta(hours=1)
    assert say_time(DUE_AT, "Europe/Berlin", now) == "09:00"
    assert say_time(DUE_AT, "Europe/Atlantis", now) == "08:00 UTC"
    assert say_time(DUE_AT, "Pacific/Auckland", now + timedelta(days=1)) == "21:00 on Saturday, 21 November"
    assert failure_words(DUE_AT, "", "unknown", now) == "The reminder of 08:00 UTC may not have reached you:\n"
    assert "was the last" in failure_words(DUE_AT, "", "rule", now)
    assert failure_words(DUE_AT, "", "stuck", now) == "The reminder of 08:00 UTC did not work out:\n"
