"""Budgets: what may be used of a kind in a period, at each level from the operator down to one turn.

What a call may use is reserved before it at all levels that apply, and what it did use is charged after it.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from subclaw.core.agent import AgentSettings
from subclaw.core.business import AGENT_ID, OF_PERSONS
from subclaw.core.errors import Invalid
from subclaw.core.event import BudgetReached, Event, HistorySummarised, ModelCancelled, ModelReplied, SummaryFailed
from subclaw.core.model import REPLY_LIMIT_TOKENS, Prompt, Usage
from subclaw.core.tokens import prompt_tokens
from subclaw.core.transcript import current_turn

EVERYBODY = "*"
"""The subject of a budget that is for each of its level that has none of its own."""

MOST = 10**15
"""The largest limit: a billion dollars."""


TURN_OVER = "This takes more than one answer may use, so I have stopped. Tell me how you would like to go on."
"""What is said when a turn has reached its own limit."""


class Level(StrEnum):
    """Whose budget it is. That of a turn is in the agent's file."""

    OPERATOR = "operator"
    AGENT = "agent"
    TENANT = "tenant"
    CONVERSATION = "conversation"


class Kind(StrEnum):
    """What is counted: money for model tokens (micro-USD), tokens, text-message segments, seconds of machines."""

    MONEY = "microusd"
    TOKENS = "tokens"
    SEGMENTS = "segments"
    MACHINE_S = "machine_s"


class Period(StrEnum):
    """How often it is refilled: at midnight or the first of the month in UTC, or never."""

    DAY = "day"
    MONTH = "month"
    TOTAL = "total"


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What one subject may use in a period. From `soft` on (None: never) the agent warns and uses a cheaper model; no
    call is made that could go beyond `hard` (None: no end).
    """

    level: Level
    subject: str
    kind: Kind
    period: Period
    soft: int | None = None
    hard: int | None = None


@dataclass(frozen=True, kw_only=True)
class Reached:
    """A budget at its limit. It is refilled at the instant `until`, or never by itself."""

    level: Level
    kind: Kind
    period: Period
    until: datetime | None


@dataclass(frozen=True, kw_only=True)
class Room:
    """What the budgets say to a call: `hard` is a budget that has no room for it, `soft` one that is nearly used up.

    `warn` says that the person has not been told of that in this period.
    """

    hard: Reached | None = None
    soft: Reached | None = None
    warn: bool = False


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a call may use at most: tokens, and micro-USD by the usual model and by the cheaper one."""

    tokens: int
    microusd: int
    cheaper_microusd: int


CostOf = Callable[[Usage], int]
"""Returns what a call cost, in micro-USD, rounded up."""


@dataclass(frozen=True, kw_only=True)
class Tariff:
    """What model calls cost. `model` and `cheaper` are the names by which `price` knows the models that are asked."""

    price: CostOf
    model: str = ""
    cheaper: str = ""


FREE = Tariff(price=lambda _: 0)
"""What costs nothing."""


def check_budget(budget: Budget) -> None:
    """Raise `Invalid`, in words, for a budget that cannot be."""
    if budget.soft is None and budget.hard is None:
        raise Invalid("A budget has a soft limit, a hard limit or both.")
    if not all(0 <= limit <= MOST for limit in (budget.soft, budget.hard) if limit is not None):
        raise Invalid("A limit is not below zero and not above a billion dollars.")
    if budget.soft is not None and budget.hard is not None and budget.soft > budget.hard:
        raise Invalid("The soft limit is at most the hard one.")
    if budget.soft is not None and budget.kind not in (Kind.MONEY, Kind.TOKENS):
        raise Invalid("Only money and tokens have a soft limit: nothing else has a cheaper way.")
    if budget.level is Level.CONVERSATION and budget.kind is Kind.MACHINE_S:
        raise Invalid("A machine is a tenant's, so a conversation has no machine seconds of its own.")
    _check_subject(budget.level, budget.subject)


def _check_subject(level: Level, subject: str) -> None:
    if level is Level.OPERATOR and subject != EVERYBODY:
        raise Invalid(f"There is one operator: the subject is {EVERYBODY!r}.")
    if level is Level.AGENT and subject != EVERYBODY and not AGENT_ID.fullmatch(subject):
        raise Invalid(f"An agent is named by its id, {OF_PERSONS!r} for that of persons, {EVERYBODY!r} for each.")
    if level in (Level.TENANT, Level.CONVERSATION) and not re.fullmatch(r"\*|[0-9]{1,18}", subject):
        raise Invalid(f"A {level} is named by its number, or {EVERYBODY!r} for each.")


def estimate(prompt: Prompt, tariff: Tariff) -> Estimate:
    """Return what asking with a prompt may use at most."""
    input_tokens, output_tokens = prompt_tokens(prompt), min(prompt.limit_tokens, REPLY_LIMIT_TOKENS)

    def costs(model: str) -> int:
        return tariff.price(Usage(model=model, input_tokens=input_tokens, output_tokens=output_tokens))

    usual = costs(tariff.model)
    return Estimate(
        tokens=input_tokens + output_tokens,
        microusd=usual,
        cheaper_microusd=costs(tariff.cheaper) if tariff.cheaper else usual,
    )


def turn_over(
    events: Sequence[Event], agent: AgentSettings, call: Estimate, completions: Usage | None = None
) -> BudgetReached | None:
    """Say in words that the running turn has no room for another call; None if it has.

    It goes by what the turn's calls used, as its events have it, and its `completions` together.
    """
    asked = (ModelReplied, ModelCancelled, HistorySummarised, SummaryFailed)
    used = [event.usage for event in current_turn(events) or () if isinstance(event, asked) and event.usage]
    used += [completions] if completions else []
    tokens = sum(usage.input_tokens + usage.output_tokens for usage in used) + call.tokens
    microusd = sum(usage.cost_microusd for usage in used) + call.microusd
    if _within(tokens, agent.turn_limit_tokens) and _within(microusd, agent.turn_limit_microusd):
        return None
    return BudgetReached(public=TURN_OVER)


def _within(amount: int, limit: int | None) -> bool:
    return limit is None or amount <= limit


def over_words(reached: Reached) -> str:
    """Say to a person that a hard limit is reached: which, and when they can go on."""
    return f"{_allowance(reached)} is used up, so I can't go on now. {_refill(reached)}"


def soft_words(reached: Reached, *, degraded: bool) -> str:
    """Say to a person, in one sentence, that a soft limit is reached; `degraded` if a cheaper model answers now."""
    until = _instant(reached)
    end = f"; it is refilled {until}" if until else ""
    simpler = ", so I answer with a simpler model for now" if degraded else ""
    return f"(Most of {_lower(_allowance(reached))} is used{simpler}{end}.)"


def over_detail(reached: Reached) -> str:
    """Say to the operator which hard limit is reached."""
    kinds = {Kind.MONEY: "money", Kind.TOKENS: "tokens", Kind.SEGMENTS: "segments", Kind.MACHINE_S: "machine seconds"}
    return f"over budget: {reached.level}, {kinds[reached.kind]}, {reached.period}"


def _allowance(reached: Reached) -> str:
    when = {Period.DAY: "Today's", Period.MONTH: "This month's", Period.TOTAL: "The"}[reached.period]
    whom = {
        Level.OPERATOR: " that everybody here shares",
        Level.AGENT: " that everybody here shares",
        Level.TENANT: "",
        Level.CONVERSATION: " of this conversation",
    }[reached.level]
    what = {Kind.SEGMENTS: " for text messages", Kind.MACHINE_S: " for your computer"}.get(reached.kind, "")
    return f"{when} allowance{what}{whom}"


def _refill(reached: Reached) -> str:
    until = _instant(reached)
    return f"It is refilled {until}." if until else "Whoever runs me can raise it."


def _instant(reached: Reached) -> str:
    if reached.until is None:
        return ""
    if reached.period is Period.DAY:
        return "at midnight (UTC)"
    return f"on {reached.until.day} {reached.until:%B} (UTC)"


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]
