"""The support agent of the example: what its policy says of calls, and when its shop is open."""

import runpy
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from subclaw.business.evals import read_evals
from subclaw.business.openapi import read_operations
from subclaw.business.package import read_package
from subclaw.business.policy import read_tool_policy
from subclaw.core.tool_policy import Asked, Decision, decide, windows

FOLDER = Path(__file__).parents[3] / "examples" / "support" / "agents" / "support"
FILES = {
    str(path.relative_to(FOLDER)): path.read_bytes()
    for path in FOLDER.rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
}
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
"""A Friday; it is 13:00 in the shop."""
hours_at: Callable[[datetime], dict[str, Any]] = runpy.run_path(str(FOLDER / "tools" / "hours.py"))["_hours_at"]


def decided(tool: str, *, used: int = 0, now: datetime = NOON, **arguments: Any) -> Decision:
    """Decide on a call of a customer's who has used this much of each limit."""
    policy = read_tool_policy(FILES)
    asked = Asked(tool=tool, arguments=arguments, binding={"customer": "ada"}, now=now)
    return decide(policy, asked, {window: Decimal(used) for window in windows(policy, asked)})


def refund(amount: float, used: int = 0) -> str:
    return decided("refund", used=used, order="1001", body={"amount": amount, "reason": "torn"}).effect


def test_the_folder_can_be_applied() -> None:
    package = read_package(FILES)
    assert (package.id, package.channels, package.machine_tools) == ("support", ("api", "widget"), ())
    assert len(read_evals(FILES)) == 3


def test_no_model_is_shown_whose_call_it_is() -> None:
    for operation in read_operations(FILES):
        properties = operation.definition.parameters["properties"]
        assert not {"customer", "Idempotency-Key"} & set(properties), operation.definition.name
        assert operation.definition.idempotent


def test_small_refunds_are_made_larger_ones_approved_and_others_refused() -> None:
    assert [refund(amount) for amount in (0.01, 30, 50, 50.01, 80, 200)] == ["allow"] * 3 + ["approve"] * 3
    assert [refund(amount) for amount in (200.01, 0, -5)] == ["deny"] * 3
    assert decided("refund", order="1001").effect == "deny"


def test_a_customer_has_two_hundred_euros_a_day() -> None:
    policy = read_tool_policy(FILES)

    def after(spent: int) -> str:
        asked = Asked(tool="refund", arguments={"body": {"amount": 30}}, binding={}, now=NOON)
        usage = {window: Decimal(spent if window.path else 0) for window in windows(policy, asked)}
        return decide(policy, asked, usage).effect

    assert [after(spent) for spent in (170, 171)] == ["allow", "deny"]


def test_a_person_is_asked_for_so_often_and_called_for_in_their_hours() -> None:
    assert [decided("escalate", used=used, body={"about": "x"}).effect for used in (2, 3)] == ["allow", "deny"]
    at = [NOON.replace(hour=hour) for hour in (7, 8, 15, 16)]
    assert [decided("call_back", now=now).effect for now in at] == ["deny", "allow", "allow", "deny"]
    assert decided("call_back", now=NOON.replace(day=21)).effect == "deny", "a Saturday"


def test_what_is_not_named_cannot_be_called() -> None:
    assert decided("delete_everything").effect == "deny"


@pytest.mark.parametrize(
    ("now", "is_open", "opens_next"),
    [
        (NOON, True, "Monday, 23 November, 09:00"),
        (NOON.replace(hour=7, minute=59), False, "Friday, 20 November, 09:00"),
        (NOON.replace(hour=8), True, "Monday, 23 November, 09:00"),
        (NOON.replace(hour=16), False, "Monday, 23 November, 09:00"),
        (NOON.replace(day=22), False, "Monday, 23 November, 09:00"),
        (datetime(2026, 7, 1, 7, 0, tzinfo=UTC), True, "Thursday, 02 July, 09:00"),
    ],
    ids=["noon", "before nine", "nine", "five", "Sunday", "in summer"],
)
def test_the_hours_are_those_of_the_shop(now: datetime, is_open: bool, opens_next: str) -> None:
    hours = hours_at(now)
    assert (hours["is_open"], hours["opens_next"]) == (is_open, opens_next)
