"""`subclaw budgets`: what may be used at each level, and what is used of it."""

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import TypeVar

from rich.console import Console

from subclaw.commands.lists import operator_database
from subclaw.commands.tables import show
from subclaw.config import Settings
from subclaw.core.budget import MOST, Budget, Kind, Level, Period
from subclaw.core.errors import Invalid
from subclaw.core.price import MICRO_USD
from subclaw.store.budgets import all_budgets, remove_budget, set_budget, with_number

Word = TypeVar("Word", bound=StrEnum)

ROWS = 1_000
"""Most budgets that are listed."""

_KINDS = {
    "money": Kind.MONEY,
    "tokens": Kind.TOKENS,
    "segments": Kind.SEGMENTS,
    "machine-seconds": Kind.MACHINE_S,
}
_WORDS = {kind: word for word, kind in _KINDS.items()}


async def list_budgets(settings: Settings, console: Console, *, as_json: bool) -> None:
    """List the budgets and what is used of them; of one that is for each, what the one used who has used most."""
    async with operator_database(settings) as operator:
        found = await all_budgets(operator, limit=ROWS)
    rows = [
        {
            "level": use.budget.level.value,
            "subject": use.budget.subject,
            "kind": _WORDS[use.budget.kind],
            "period": use.budget.period.value,
            "soft": _shown(use.budget.kind, use.budget.soft),
            "hard": _shown(use.budget.kind, use.budget.hard),
            "used": _shown(use.budget.kind, use.used),
            "reserved": _shown(use.budget.kind, use.reserved),
        }
        for use in found
    ]
    show(rows, console, as_json=as_json, none="There are no budgets: nothing is limited.")


async def limit(settings: Settings, console: Console, key: Budget, *, soft: str | None, hard: str | None) -> None:
    """Set a budget. Errors: `Invalid`, `NotFound`."""
    async with operator_database(settings) as operator:
        numbered = await with_number(operator, key)
        await set_budget(operator, replace(numbered, soft=_amount(key.kind, soft), hard=_amount(key.kind, hard)))
    console.print(f"The budget is set: {_named(key)}.", soft_wrap=True, markup=False)


async def unlimit(settings: Settings, console: Console, key: Budget) -> None:
    """Remove a budget. Errors: `NotFound`."""
    async with operator_database(settings) as operator:
        await remove_budget(operator, await with_number(operator, key))
    console.print(f"The budget is removed: {_named(key)}.", soft_wrap=True, markup=False)


def parse_key(level: str, subject: str, kind: str, period: str) -> Budget:
    """Return a budget without limits from the words of a command. Errors: `Invalid`."""
    if kind not in _KINDS:
        raise Invalid(f"A budget is of {_or(_KINDS)}, not of {kind!r}.")
    return Budget(
        level=_one_of(Level, "level", level),
        subject=subject,
        kind=_KINDS[kind],
        period=_one_of(Period, "period", period),
    )


def _one_of(words: type[Word], what: str, text: str) -> Word:
    try:
        return words(text)
    except ValueError:
        raise Invalid(f"The {what} is {_or([word.value for word in words])}, not {text!r}.") from None


def _or(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}"


def _amount(kind: Kind, text: str | None) -> int | None:
    """Return a limit from what was typed: dollars for money, else a whole number. Errors: `Invalid`."""
    if text is None:
        return None
    unit = MICRO_USD if kind is Kind.MONEY else 1
    try:
        amount = Decimal(text) * unit
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or not 0 <= amount <= MOST or amount != int(amount):
        kinds = "dollars, such as 2.50" if kind is Kind.MONEY else "a whole number"
        raise Invalid(f"{text!r} is no limit of {_WORDS[kind]}: that is {kinds}, not below zero.")
    return int(amount)


def _shown(kind: Kind, amount: int | None) -> str:
    if amount is None:
        return ""
    return f"{Decimal(amount) / MICRO_USD:.4f}" if kind is Kind.MONEY else str(amount)


def _named(key: Budget) -> str:
    return f"{key.level} {key.subject}, {_WORDS[key.kind]}, {key.period}"
