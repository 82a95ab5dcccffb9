"""Jobs from elsewhere, whatever is in them: each becomes a reminder that can be, or is told of."""

import json
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr
from hypothesis import given
from hypothesis import strategies as st

from subclaw.harness.imports.recognise import import_found

NOW = datetime(2026, 11, 22, 1, 40, tzinfo=UTC)

numbers = st.one_of(st.integers(), st.just(10**400), st.floats())
words = st.sampled_from(
    [
        *("", "0 9 * * 1", "*/5 * * * *", "0 0 9 * * *", "@daily", "2026-12-01T09:00", "0001-01-01T00:00+14:00"),
        *("9999-12-31T23:59:59-12:00", "Europe/Berlin", "UTC", "../etc", "Europe", "at", "cron", "once", "every"),
    ]
)
scalars = st.one_of(st.none(), st.booleans(), numbers, words, st.text(max_size=10))
values = st.one_of(scalars, st.lists(scalars, max_size=3), st.dictionaries(st.text(max_size=5), scalars, max_size=3))
schedules = st.fixed_dictionaries(
    {"kind": st.sampled_from(["at", "every", "cron", "once", "interval", "stream"])},
    optional=dict.fromkeys(("at", "atMs", "everyMs", "anchorMs", "expr", "tz", "run_at", "minutes", "display"), values),
)
payloads = st.fixed_dictionaries(
    {"kind": st.sampled_from(["systemEvent", "agentTurn", "command"])}, optional={"text": values, "message": values}
)
jobs = st.fixed_dictionaries(
    {"schedule": st.one_of(schedules, values)},
    optional={
        "name": values,
        "enabled": values,
        "payload": st.one_of(payloads, values),
        "prompt": values,
        "skills": values,
        "next_run_at": values,
        "repeat": st.one_of(values, st.fixed_dictionaries({"times": values}, optional={"completed": values})),
    },
)


@pytest.mark.parametrize("mark", ["AGENTS.md", "memories/MEMORY.md"])
@given(data=st.lists(jobs, max_size=4))
def test_every_job_is_accounted_for(mark: str, data: list[dict[str, Any]]) -> None:
    result = import_found({mark: b"Be.", "cron/jobs.json": json.dumps({"jobs": data}).encode()}, NOW)
    told = [left for left in result.left_out if left.source.startswith("cron/jobs.json: ")]
    set_from = {taken.source for taken in result.taken if taken.source.startswith("cron/jobs.json: ")}
    assert len(told) + len(result.reminders) >= len(data)
    assert set_from or not result.reminders
    for reminder in result.reminders:
        when = datetime.fromisoformat(reminder.when)
        if reminder.repeat is None:
            assert when > NOW
        else:
            assert when.replace(tzinfo=ZoneInfo(reminder.time_zone)) > NOW
            assert next(iter(rrulestr(reminder.repeat, dtstart=when))) == when
