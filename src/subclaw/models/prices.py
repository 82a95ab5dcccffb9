"""Prices and context windows of models: the operator's own, else those of the table that `genai-prices` keeps.

A model that neither knows is taken to be dear: a budget that ends too soon is noticed, one that never ends is paid for.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache

import genai_prices
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo

from subclaw.core.model import Usage
from subclaw.core.price import Price, cost_microusd, microusd

UNKNOWN_PRICE = Price(input=Decimal(15), output=Decimal(75))
"""For a model that nobody knows: dearer than nineteen of twenty in the table."""

UNKNOWN_WINDOW_TOKENS = 32_768
"""For a model that nobody knows: what models of one's own are commonly run with, at least."""

FREE = frozenset({"demo"})
"""Providers that cost nothing."""


@dataclass(frozen=True, kw_only=True)
class Prices:
    """What models cost and take. `own` and `windows` are the operator's, by `provider:model`."""

    own: Mapping[str, Price] = field(default_factory=dict)
    windows: Mapping[str, int] = field(default_factory=dict)

    def price_of(self, usage: Usage) -> int:
        """Return what a call cost, in micro-dollars, rounded up.

        The model that was asked counts before the name that answered: providers add dates to it, and servers of one's
        own call their models what they like. Fitted to a call that is still to be made, it is what that may cost; then
        `model` alone may name it, as `provider:model`.
        """
        choice = usage.choice or usage.model
        price = self.own.get(choice)
        if price is not None:
            return cost_microusd(usage, price)
        provider, _, asked = choice.partition(":")
        if provider in FREE:
            return 0
        elsewhere = "" if usage.choice else usage.model  # of any provider, for calls from before one was named
        for where, model in ((provider, asked), (provider, usage.model), ("", elsewhere)):
            if cost := _table_cost(usage, where, model):
                return cost
        return cost_microusd(usage, UNKNOWN_PRICE)

    def window_tokens(self, choice: str) -> int:
        """Return how many tokens a model takes at once, of `provider:model`."""
        provider, _, model = choice.partition(":")
        return self.windows.get(choice) or _table_window(provider, model) or UNKNOWN_WINDOW_TOKENS

    def unpriced(self, choices: Iterable[str]) -> tuple[str, ...]:
        """Return those models whose price nobody knows."""
        return tuple(choice for choice in choices if not self._is_priced(choice))

    def _is_priced(self, choice: str) -> bool:
        provider, _, model = choice.partition(":")
        a_call = Usage(model=model, input_tokens=1_000, output_tokens=1_000)
        return choice in self.own or provider in FREE or _table_cost(a_call, provider, model) > 0


def _table_cost(usage: Usage, provider: str, model: str) -> int:
    """Return what the table says, in micro-dollars; 0 if it has no price, which is not the same as free."""
    if not _in_table(provider, model):
        return 0
    read = min(usage.cache_read_tokens, usage.input_tokens)
    counted = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=read,
        cache_write_tokens=min(usage.cache_write_tokens, usage.input_tokens - read),
    )
    return microusd(genai_prices.calc_price(counted, model, provider_id=provider or None).total_price)


def _table_window(provider: str, model: str) -> int | None:
    found = _in_table(provider, model)
    return found.context_window if found else None


@lru_cache(maxsize=256)  # the table itself remembers only what it finds
def _in_table(provider: str, model: str) -> ModelInfo | None:
    if not model:
        return None
    try:
        return get_snapshot().find_provider_model(model, None, provider or None, None)[1]
    except LookupError:
        return None
