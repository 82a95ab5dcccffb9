"""A constraint on the arguments of a call, such as `amount <= 50`: its small language, and whether it holds.

`PATH OPERATOR VALUE`: the path is an argument's (`order.id`), with `?` behind it for one that may be left out. The
value is JSON, or `binding.PATH` for what the session of the customer is bound to. Nothing is converted: a text is never
equal to a number, `true` is none, and a constraint on what is not there does not hold.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

import regex  # type: ignore[import-untyped]

from subclaw.core.errors import Invalid

CONSTRAINT_LIMIT_CHARACTERS = 500
MATCH_LIMIT_S = 0.05
"""A pattern may not think for longer about one text: then it does not fit."""
MATCHED_LIMIT_CHARACTERS = 2_000

_SHAPE = re.compile(
    r"\s*(?P<path>[A-Za-z_][\w-]*(?:\.[A-Za-z_][\w-]*){0,7})(?P<optional>\?)?"
    r"\s*(?P<operator><=|>=|==|!=|<|>|\b(?:not\s+in|in|matches)\b)\s*(?P<value>.+?)\s*",
    re.DOTALL,
)
_BINDING = re.compile(r"binding((?:\.[A-Za-z_][\w-]*){1,8})")


class Operator(StrEnum):
    """How an argument and a value are held together."""

    MOST = "<="
    LEAST = ">="
    EQUAL = "=="
    UNEQUAL = "!="
    LESS = "<"
    MORE = ">"
    IN = "in"
    NOT_IN = "not in"
    MATCHES = "matches"


_OF_NUMBERS = (Operator.MOST, Operator.LEAST, Operator.LESS, Operator.MORE)
_OF_LISTS = (Operator.IN, Operator.NOT_IN)


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A place in the binding of a customer's session."""

    path: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Constraint:
    """What an argument must be. `text` is the constraint as it was written."""

    text: str
    path: tuple[str, ...]
    optional: bool
    operator: Operator
    value: Any

    @property
    def knows_binding(self) -> bool:
        """Whether it depends on the customer's session."""
        return isinstance(self.value, Bound)

    @property
    def compares_numbers(self) -> bool:
        """Whether it is one of more and less."""
        return self.operator in _OF_NUMBERS


def parse_constraint(text: str) -> Constraint:
    """Parse a constraint. Raises `Invalid`, in words for whoever wrote it."""
    if len(text) > CONSTRAINT_LIMIT_CHARACTERS:
        raise Invalid(f"a constraint has at most {CONSTRAINT_LIMIT_CHARACTERS} characters.")
    found = _SHAPE.fullmatch(text)
    if found is None:
        raise Invalid(f"{text!r} is no constraint. One looks like: amount <= 50")
    operator = Operator(" ".join(found["operator"].split()))
    value = _value(found["value"], text)
    _require_fit(operator, value, text)
    path = tuple(found["path"].split("."))
    return Constraint(text=text, path=path, optional=bool(found["optional"]), operator=operator, value=value)


def holds(constraint: Constraint, arguments: Mapping[str, Any], binding: Mapping[str, Any]) -> bool:
    """Return whether a constraint holds for the arguments of a call, as they were parsed from JSON."""
    there, given = look_up(arguments, constraint.path)
    if not there:
        return constraint.optional
    value = constraint.value
    if isinstance(value, Bound):
        bound, value = look_up(binding, value.path)
        if not bound:
            return False
    return _compare(constraint.operator, given, value)


def look_up(values: Mapping[str, Any], path: Sequence[str]) -> tuple[bool, Any]:
    """Return whether there is something at a path, and what."""
    found: Any = values
    for step in path:
        if not isinstance(found, Mapping) or step not in found:
            return False, None
        found = found[step]
    return True, found


def as_number(value: object) -> Decimal | None:
    """Return a JSON number; None for anything else, and for those that JSON has not (NaN, infinity)."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    if not math.isfinite(value):
        return None
    return Decimal(str(value))


def _value(text: str, constraint: str) -> Any:
    if found := _BINDING.fullmatch(text):
        return Bound(path=tuple(found[1][1:].split(".")))
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Invalid(
            f'{constraint!r}: {text!r} is neither JSON (a text goes in "…") nor a place such as binding.customer_id.'
        ) from None


def _require_fit(operator: Operator, value: Any, text: str) -> None:
    if isinstance(value, Bound):
        if operator is Operator.MATCHES:
            raise Invalid(f"{text!r}: a pattern must be written down, not bound.")
        return
    if operator in _OF_NUMBERS and as_number(value) is None:
        raise Invalid(f"{text!r}: {operator.value} needs a number.")
    if operator in _OF_LISTS and not isinstance(value, list):
        raise Invalid(f"{text!r}: {operator.value} needs a list, such as [1, 2].")
    if operator is Operator.MATCHES:
        if not isinstance(value, str):
            raise Invalid(f'{text!r}: matches needs a pattern in "…".')
        try:
            regex.compile(value)
        except regex.error as error:
            raise Invalid(f"{text!r}: that is no pattern: {error}.") from None


def _compare(operator: Operator, given: Any, value: Any) -> bool:
    if operator in _OF_NUMBERS:
        return _compare_numbers(operator, as_number(given), as_number(value))
    match operator:
        case Operator.EQUAL:
            return _same(given, value)
        case Operator.UNEQUAL:
            return not _same(given, value)
        case Operator.IN:
            return isinstance(value, list) and any(_same(given, each) for each in value)
        case Operator.NOT_IN:
            return isinstance(value, list) and not any(_same(given, each) for each in value)
        case _:
            return isinstance(given, str) and _matches(value, given)


def _compare_numbers(operator: Operator, given: Decimal | None, value: Decimal | None) -> bool:
    if given is None or value is None:
        return False
    match operator:
        case Operator.MOST:
            return given <= value
        case Operator.LEAST:
            return given >= value
        case Operator.LESS:
            return given < value
        case _:
            return given > value


def _same(one: Any, other: Any) -> bool:
    """Return whether two values of JSON are the same: 1 and 1.0 are, 1 and true are not."""
    numbers = as_number(one), as_number(other)
    if None not in numbers:
        return numbers[0] == numbers[1]
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return type(one) is type(other) and bool(one == other)


def _matches(pattern: str, text: str) -> bool:
    if len(text) > MATCHED_LIMIT_CHARACTERS:
        return False
    try:
        return regex.fullmatch(pattern, text, timeout=MATCH_LIMIT_S) is not None
    except TimeoutError:
        return False
