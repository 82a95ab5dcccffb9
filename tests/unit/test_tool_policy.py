"""The policy of tools: decisions on values, with reasons."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from subclaw.business.policy import read_tool_policy, require_tools
from subclaw.core.errors import Invalid
from subclaw.core.tool_dry_run import Decided, dry_run
from subclaw.core.tool_policy import Asked, Decision, Effect, ToolPolicy, decide, must_be_approved, windows

NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
"""A Friday."""

POLICY = """
default = "allow"
time_zone = "Europe/Berlin"

[tools.refund]
require = ["amount > 0", "amount <= 500", "customer_id == binding.customer"]
approve_if = ["amount > 50"]
hours = ["Mon-Fri 09:00-17:00", "Sat 22:00-02:00"]
per_customer = "2/minute"
per_agent = "3/hour"
calls_per_day = 5
sum_per_day = { amount = 200 }

[tools."admin_*"]
effect = "deny"

[tools.cancel]
effect = "approve"
"""


def policy_of(text: str) -> ToolPolicy:
    return read_tool_policy({"policy.toml": text.encode()})


def asked(tool: str, now: datetime = NOON, **arguments: Any) -> Asked:
    return Asked(
        tool=tool, arguments=arguments, binding={"customer": "anna"}, now=now, tools=("refund", "cancel", "admin_all")
    )


def decided(call: Asked, used: Mapping[int, int] | None = None) -> Decision:
    policy = policy_of(POLICY)
    usage = {window: Decimal((used or {}).get(n, 0)) for n, window in enumerate(windows(policy, call))}
    return decide(policy, call, usage)


REFUND: dict[str, Any] = {"amount": 20, "customer_id": "anna"}


def test_what_no_rule_is_about_goes_by_the_default() -> None:
    assert decided(asked("find")).effect is Effect.ALLOW
    assert decide(ToolPolicy(default=Effect.DENY), asked("find"), {}).effect is Effect.DENY


def test_each_rule_is_held() -> None:
    assert decided(asked("refund", **REFUND)).effect is Effect.ALLOW
    assert decided(asked("admin_all")).effect is Effect.DENY
    assert decided(asked("cancel")).effect is Effect.APPROVE
    assert decided(asked("refund", **{**REFUND, "amount": 51})).effect is Effect.APPROVE
    assert decided(asked("refund", **{**REFUND, "amount": 501})).reason == "it is required that amount <= 500"
    assert decided(asked("refund", **{**REFUND, "customer_id": "ben"})).effect is Effect.DENY


def test_reasons_hold_nothing_of_the_arguments_or_the_binding() -> None:
    reason = decided(asked("refund", **{**REFUND, "customer_id": "canary"})).reason
    assert "canary" not in reason
    assert "anna" not in reason


@pytest.mark.parametrize(
    ("now", "is_open"),
    [
        (datetime(2026, 11, 20, 8, 0, tzinfo=UTC), True),  # 09:00 in Berlin
        (datetime(2026, 11, 20, 7, 59, tzinfo=UTC), False),
        (datetime(2026, 11, 20, 16, 0, tzinfo=UTC), False),
        (datetime(2026, 11, 21, 11, 0, tzinfo=UTC), False),  # a Saturday
        (datetime(2026, 11, 21, 22, 0, tzinfo=UTC), True),
        (datetime(2026, 11, 22, 0, 30, tzinfo=UTC), True),  # its night, on Sunday
        (datetime(2026, 11, 22, 1, 0, tzinfo=UTC), False),
        (datetime(2026, 7, 3, 7, 0, tzinfo=UTC), True),  # summer time
    ],
)
def test_hours_are_those_of_the_policys_time_zone(now: datetime, is_open: bool) -> None:
    assert (decided(asked("refund", now, **REFUND)).effect is not Effect.DENY) is is_open


def test_limits_hold_at_their_windows() -> None:
    call = asked("refund", **REFUND)
    minute, hour, day, amount = windows(policy_of(POLICY), call)
    assert (NOON - minute.since, NOON - hour.since) == (timedelta(minutes=1), timedelta(hours=1))
    assert day.since == datetime(2026, 11, 19, 23, tzinfo=UTC)
    assert amount.path == ("amount",)
    for used in ({0: 2}, {1: 3}, {2: 5}, {3: 181}):
        assert decided(call, used).effect is Effect.DENY
    assert decided(call, {0: 1, 1: 2, 2: 4, 3: 180}).effect is Effect.ALLOW


def test_a_sum_cannot_be_lowered() -> None:
    text = "[tools.refund]\nsum_per_day = { amount = 200 }"
    policy = policy_of(text)
    for amount in (-1, "1", None, True, float("nan")):
        call = asked("refund", amount=amount)
        usage = {window: Decimal(0) for window in windows(policy, call)}
        assert decide(policy, call, usage).effect is Effect.DENY


@pytest.mark.parametrize("amount", ["60", None, True, float("nan"), [60], 50.01])
def test_what_might_have_to_be_approved_is_asked_about(amount: object) -> None:
    assert must_be_approved(policy_of(POLICY), "refund", {"amount": amount})
    assert must_be_approved(policy_of(POLICY), "refund", {})
    assert not must_be_approved(policy_of(POLICY), "refund", {"amount": 50})


def test_the_strictest_of_several_rules_wins() -> None:
    policy = policy_of('[tools."re*"]\neffect = "approve"\n[tools."*fund"]\neffect = "deny"\n[tools.refund]\n')
    assert decide(policy, asked("refund"), {}).effect is Effect.DENY
    assert decide(policy, asked("resend"), {}).effect is Effect.APPROVE


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("default = 'maybe'", "policy.toml:1: "),
        ("time_zone = 'Mars/Base'", "policy.toml:1: "),
        ("\n[tools.refund]\nrequire = ['amount']", "policy.toml:2: "),
        ("[tools.refund]\napprove_if = ['id == binding.customer']", "policy.toml:1: "),
        ("[tools.refund]\nhours = ['9 to 5']", "policy.toml:1: "),
        ("[tools.refund]\nhours = ['Mon 25:00-26:00']", "policy.toml:1: "),
        ("[tools.refund]\nper_customer = 'often'", "policy.toml:1: "),
        ("[tools.refund]\ncalls_per_day = -1", "policy.toml:2: "),
        ("[tools.refund]\nefect = 'deny'", "policy.toml:2: "),
        ("[tools.refund", "policy.toml:1: "),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, place: str) -> None:
    with pytest.raises(Invalid) as raised:
        policy_of(text)
    assert raised.value.public.startswith(place)


def test_a_rule_about_no_tool_is_refused() -> None:
    files = {"policy.toml": POLICY.encode()}
    line = POLICY.split("\n").index('[tools."admin_*"]') + 1
    with pytest.raises(Invalid, match=rf"^policy.toml:{line}: There is no tool 'admin_"):
        require_tools(files, {"refund", "cancel"})
    require_tools(files, {"refund", "cancel", "admin_x"})


def test_a_dry_run_replays_decisions_in_their_order() -> None:
    def of(minute: int, customer: str, amount: int, effect: Effect = Effect.ALLOW) -> Decided:
        at = NOON + timedelta(minutes=minute)
        return Decided(tool="refund", effect=effect, at=at, customer=customer, arguments={"amount": amount})

    rows = [of(3, "anna", 150), of(0, "anna", 100), of(5, "ben", 60), of(9, "ben", 900, Effect.DENY)]
    policy = policy_of("[tools.refund]\nsum_per_day = { amount = 200 }\napprove_if = ['amount > 100']")
    changes = {(change.before, change.after): change for change in dry_run(policy, rows)}
    assert set(changes) == {(Effect.ALLOW, Effect.DENY)}
    assert changes[Effect.ALLOW, Effect.DENY].customers == {"anna"}
    loose = dry_run(policy_of(""), rows)
    assert [(change.before, change.after, change.count) for change in loose] == [(Effect.DENY, Effect.ALLOW, 1)]


def test_a_dry_run_says_what_it_cannot_tell() -> None:
    row = Decided(tool="refund", effect=Effect.ALLOW, at=NOON, customer="anna")
    (change,) = dry_run(policy_of("[tools.refund]\nrequire = ['amount <= 50']"), [row])
    assert change.after is None
    (change,) = dry_run(policy_of("[tools.refund]\neffect = 'deny'\nrequire = ['amount <= 50']"), [row])
    assert change.after is Effect.DENY
    assert dry_run(policy_of("[tools.refund]\nper_customer = '5/minute'"), [row]) == ()
