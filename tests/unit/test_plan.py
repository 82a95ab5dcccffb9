"""What a plan may say."""

from dataclasses import replace
from typing import Any

import pytest

from subclaw.core.errors import Invalid
from subclaw.core.plan import Plan, check_plan

PLAN = Plan(name="standard", idle_timeout_s=300, awake_s_per_day=14_400, disk_mb=8192, sleeps_with_memory=True)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "a1"},
        {"name": f"a{61 * '-'}z"},
        {"idle_timeout_s": 1},
        {"idle_timeout_s": 86_400},
        {"awake_s_per_day": 0},
        {"awake_s_per_day": 86_400},
        {"disk_mb": 64},
        {"disk_mb": 1_048_576},
    ],
)
def test_the_ends_of_the_ranges_are_in_them(fields: dict[str, Any]) -> None:
    check_plan(replace(PLAN, **fields))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "a"}, "name"),
        ({"name": "Generous"}, "name"),
        ({"name": "1a"}, "name"),
        ({"name": "a-"}, "name"),
        ({"name": "a1\n"}, "name"),
        ({"name": f"a{62 * '-'}z"}, "name"),
        ({"idle_timeout_s": 0}, "idle time-out"),
        ({"idle_timeout_s": 86_401}, "idle time-out"),
        ({"awake_s_per_day": -1}, "24 hours"),
        ({"awake_s_per_day": 86_401}, "24 hours"),
        ({"disk_mb": 63}, "disk"),
        ({"disk_mb": 1_048_577}, "disk"),
    ],
)
def test_what_cannot_be_is_refused_in_words(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        check_plan(replace(PLAN, **fields))
