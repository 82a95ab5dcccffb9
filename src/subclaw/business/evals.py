"""Evals: `evals/*.toml` of an agent's folder. Customers who are played, and what must be true in the end."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from subclaw.business.lines import line_of, wrong
from subclaw.business.toml import read_table, text_of
from subclaw.core.tool import ToolCall

EVALS = "evals"
CASES_LIMIT = 500

_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)
_Words = Annotated[str, Field(min_length=1, max_length=20_000)]
_ToolName = Annotated[str, Field(min_length=1, max_length=64)]


class PlayedCustomer(BaseModel):
    """A customer whom a model plays: `brief` tells it who it is and what it wants, in at most `messages` messages."""

    model_config = _STRICT

    brief: _Words
    messages: Annotated[int, Field(ge=1, le=30)] = 6


class Answer(BaseModel):
    """What a tool says in place of being performed, if it is called with these arguments or more."""

    model_config = _STRICT

    tool: _ToolName
    given: Annotated[dict[str, Any], Field(alias="with")] = {}
    result: str
    is_error: bool = False


class Check(BaseModel):
    """One thing that must be true. Exactly one is set; `given` (`with`) goes with `called` and `not_called`.

    `contains` and `not_contains` are about the agent's replies together, whatever the case of letters. `judge` is a
    statement that a model finds true of the whole conversation.
    """

    model_config = _STRICT

    contains: _Words | None = None
    not_contains: _Words | None = None
    called: _ToolName | None = None
    not_called: _ToolName | None = None
    given: Annotated[dict[str, Any], Field(alias="with")] = {}
    judge: _Words | None = None

    def is_one(self) -> bool:
        """Say whether exactly one thing is asked for."""
        asked = (self.contains, self.not_contains, self.called, self.not_called, self.judge)
        return sum(each is not None for each in asked) == 1 and (not self.given or bool(self.called or self.not_called))

    def words(self) -> str:
        """Return the check in words, for a table."""
        name, value = next((name, value) for name, value in self if value is not None and name != "given")
        given = f" with {json.dumps(self.given, default=str)}" if self.given else ""
        return f"{name} {value}{given}"


class Case(BaseModel):
    """One conversation: what is said, line by line or by a model, what tools answer, and what must be true then.

    The policy goes by `at` (now, if it is not said), `customer` and `binding`.
    """

    model_config = _STRICT

    name: Annotated[str, Field(min_length=1, max_length=200)]
    say: Annotated[list[_Words], Field(max_length=50)] = []
    user: PlayedCustomer | None = None
    at: AwareDatetime | None = None
    customer: Annotated[str, Field(min_length=1, max_length=200)] = "trial"
    binding: dict[str, Any] = {}
    answer: Annotated[list[Answer], Field(max_length=200)] = []
    check: Annotated[list[Check], Field(min_length=1, max_length=100)]


class _File(BaseModel):
    model_config = _STRICT

    case: Annotated[list[Case], Field(min_length=1, max_length=CASES_LIMIT)]


def read_evals(files: Mapping[str, bytes]) -> tuple[Case, ...]:
    """Return the cases of a folder, file by file. Errors: `Invalid`."""
    cases: list[Case] = []
    for path in sorted(files):
        if path.startswith(f"{EVALS}/"):
            cases += _read(files, path)
    return tuple(cases)


def _read(files: Mapping[str, bytes], path: str) -> list[Case]:
    found, text = read_table(files, path, _File).case, text_of(files, path)
    for number, case in enumerate(found):
        if bool(case.say) == (case.user is not None):
            line = line_of(text, ("case", number))
            raise wrong(path, line, "Either say or user says what the customer says.", "Write one of the two.")
        for place, check in enumerate(case.check):
            if not check.is_one():
                line = line_of(text, ("case", number, "check", place))
                kinds = "contains, not_contains, called, not_called or judge"
                raise wrong(path, line, "A check asks for exactly one thing.", f"Write one of {kinds}.")
    return found


def find(check: Check, replies: Sequence[str], calls: Sequence[ToolCall]) -> bool | None:
    """Say whether a check is met by a conversation's replies and calls; None for one that a model has to judge."""
    said = "\n".join(replies).casefold()
    if check.judge is not None:
        return None
    if check.contains is not None:
        return check.contains.casefold() in said
    if check.not_contains is not None:
        return check.not_contains.casefold() not in said
    name = check.called or check.not_called
    was_called = any(call.name == name and agrees(check.given, _parsed(call)) for call in calls)
    return was_called is (check.called is not None)


def agrees(given: Mapping[str, Any], arguments: object) -> bool:
    """Say whether a call's arguments have all of these values, whatever else they have, in objects within too."""
    made = arguments if isinstance(arguments, Mapping) else {}
    return all(name in made and _is_in(value, made[name]) for name, value in given.items())


def _is_in(value: Any, made: Any) -> bool:
    return agrees(value, made) if isinstance(value, Mapping) and isinstance(made, Mapping) else bool(value == made)


def _parsed(call: ToolCall) -> object:
    try:
        return json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        return None
