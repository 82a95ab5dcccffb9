"""`policy.toml` of an agent's folder: what its tools may be used for, enforced on the host.

default = "allow"                     # what is done with tools that no rule is about; or "approve", "deny"
time_zone = "Europe/Berlin"           # of hours and days

[tools.refund]
require = ["amount > 0", "amount <= 500", 'currency in ["EUR", "USD"]', "customer_id == binding.customer"]
approve_if = ["amount > 50"]
hours = ["Mon-Fri 09:00-17:00"]
per_customer = "5/hour"
per_agent = "100/minute"
calls_per_day = 10                    # of one customer
sum_per_day = { amount = 200 }        # of one customer

[tools."admin_*"]
effect = "deny"

[audit]
arguments = true                      # in the clear; without it the log has their names and a digest
"""

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import time
from decimal import Decimal
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field

from subclaw.business.lines import line_of, wrong
from subclaw.business.toml import read_table, text_of
from subclaw.core.errors import Invalid
from subclaw.core.tool_constraint import Constraint, parse_constraint
from subclaw.core.tool_policy import Effect, Hours, Limit, Scope, ToolPolicy, ToolRule

POLICY_FILE = "policy.toml"
RULES_LIMIT = 200

_SECONDS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_RATE = re.compile(r"([1-9][0-9]{0,8})\s*/\s*(second|minute|hour|day)")
_HOURS = re.compile(r"(?:(\w{3})(?:-(\w{3}))?\s+)?([0-2][0-9]):([0-5][0-9])-([0-2][0-9]):([0-5][0-9])")

_Effect = Literal["allow", "approve", "deny"]
_Constraints = Annotated[list[str], Field(max_length=50)]
_Path = Annotated[str, Field(pattern=r"^[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*){0,7}$")]


class _Rule(BaseModel):
    """What `[tools.NAME]` may hold."""

    model_config = ConfigDict(extra="forbid", strict=True)

    effect: _Effect = "allow"
    require: _Constraints = []
    approve_if: _Constraints = []
    hours: Annotated[list[str], Field(max_length=20)] = []
    per_customer: str = ""
    per_agent: str = ""
    calls_per_day: Annotated[int, Field(ge=0, le=10**9)] | None = None
    sum_per_day: dict[_Path, Annotated[Decimal, Field(ge=0, le=10**15, strict=False)]] = {}
    comment: Annotated[str, Field(max_length=500)] = ""


class _Audit(BaseModel):
    """What `[audit]` may hold."""

    model_config = ConfigDict(extra="forbid", strict=True)

    arguments: bool = False


class _File(BaseModel):
    """What the file may hold."""

    model_config = ConfigDict(extra="forbid", strict=True)

    default: _Effect = "allow"
    time_zone: str = "UTC"
    tools: Annotated[dict[str, _Rule], Field(max_length=RULES_LIMIT)] = {}
    audit: _Audit = _Audit()


def read_tool_policy(files: Mapping[str, bytes], path: str = POLICY_FILE) -> ToolPolicy:
    """Return a folder's policy; without the file, every tool of the folder is allowed.

    Errors: `Invalid`, with file, line and remedy.
    """
    if path not in files:
        return ToolPolicy()
    found, text = read_table(files, path, _File), text_of(files, path)
    try:
        ZoneInfo(found.time_zone)
    except (ValueError, OSError, KeyError):
        problem = f"{found.time_zone[:64]!r} is no time zone."
        raise wrong(path, line_of(text, ("time_zone",)), problem, "Write one such as Europe/Berlin.") from None
    rules = []
    for pattern, row in found.tools.items():
        try:
            rules.append(_rule(pattern, row))
        except Invalid as error:
            line = line_of(text, ("tools", pattern))
            raise wrong(path, line, error.public, "Correct the rule.") from None
    return ToolPolicy(
        default=Effect(found.default),
        time_zone=found.time_zone,
        rules=tuple(rules),
        keeps_arguments=found.audit.arguments,
    )


def require_tools(files: Mapping[str, bytes], names: Collection[str]) -> None:
    """Refuse a rule that is about none of an agent's tools: what it was to guard is not. Errors: `Invalid`."""
    for rule in read_tool_policy(files).rules:
        if not any(rule.is_about(name) for name in names):
            line = line_of(text_of(files, POLICY_FILE), ("tools", rule.pattern))
            known = ", ".join(sorted(names)[:30]) or "none"
            raise wrong(POLICY_FILE, line, f"There is no tool {rule.pattern!r}.", f"There are: {known}.")


def _rule(pattern: str, row: _Rule) -> ToolRule:
    return ToolRule(
        pattern=pattern,
        effect=Effect(row.effect),
        require=tuple(map(parse_constraint, row.require)),
        approve_if=tuple(map(_of_arguments, row.approve_if)),
        hours=tuple(map(_hours, row.hours)),
        limits=tuple(_limits(row)),
        comment=row.comment,
    )


def _of_arguments(text: str) -> Constraint:
    """Parse what has a person asked: that is decided before the session is known."""
    constraint = parse_constraint(text)
    if constraint.knows_binding:
        raise Invalid(f"approve_if: {text!r} needs the session; use require for that.")
    return constraint


def _limits(row: _Rule) -> Iterator[Limit]:
    for scope, rate in ((Scope.CUSTOMER, row.per_customer), (Scope.AGENT, row.per_agent)):
        if rate:
            found = _RATE.fullmatch(rate)
            if found is None:
                raise Invalid(f"{rate!r} is no rate; one looks like 5/hour.")
            yield Limit(scope=scope, most=Decimal(found[1]), seconds=_SECONDS[found[2]])
    if row.calls_per_day is not None:
        yield Limit(scope=Scope.CUSTOMER, most=Decimal(row.calls_per_day))
    for path, most in row.sum_per_day.items():
        yield Limit(scope=Scope.CUSTOMER, most=most, path=tuple(path.split(".")))


def _hours(text: str) -> Hours:
    found = _HOURS.fullmatch(text.strip())
    wrong_hours = Invalid(f"{text!r} are no hours; they look like Mon-Fri 09:00-17:00.")
    if found is None:
        raise wrong_hours
    try:
        first = _DAYS.index(found[1].lower()) if found[1] else 0
        last = _DAYS.index(found[2].lower()) if found[2] else (first if found[1] else 6)
        begin, end = time(int(found[3]), int(found[4])), _end(int(found[5]), int(found[6]))
    except ValueError:
        raise wrong_hours from None
    days = range(first, last + 1) if first <= last else (*range(first, 7), *range(last + 1))
    return Hours(days=frozenset(days), begin=begin, end=end)


def _end(hour: int, minute: int) -> time:
    """Return the end of hours; 24:00 is the next day's midnight."""
    return time(0, 0) if (hour, minute) == (24, 0) else time(hour, minute)
