"""Money: what a model's tokens cost.

Amounts are whole micro-dollars (micro-USD), rounded up once a call: a call costs the cheapest models hundreds of them.
"""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from subclaw.core.model import Usage

MICRO_USD = 1_000_000
"""Micro-dollars in a dollar; a price in dollars for a million tokens is one in micro-dollars for each."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """What a million tokens cost, in US dollars.

    `cache_read` and `cache_write` are for the part of the input that came from the provider's cache or went into it;
    without them that part costs what `input` does.
    """

    input: Decimal
    output: Decimal
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None


def cost_microusd(usage: Usage, price: Price) -> int:
    """Return what a call cost, in micro-dollars, rounded up."""
    read = min(usage.cache_read_tokens, usage.input_tokens)
    written = min(usage.cache_write_tokens, usage.input_tokens - read)
    parts = (
        (usage.input_tokens - read - written, price.input),
        (read, price.input if price.cache_read is None else price.cache_read),
        (written, price.input if price.cache_write is None else price.cache_write),
        (usage.output_tokens, price.output),
    )
    return microusd(sum((tokens * each for tokens, each in parts), Decimal(0)) / MICRO_USD)


def microusd(usd: Decimal) -> int:
    """Return dollars as micro-dollars, rounded up: what is a little too much is never too little."""
    return int((usd * MICRO_USD).to_integral_value(ROUND_CEILING))
