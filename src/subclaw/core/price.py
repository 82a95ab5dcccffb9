"""Money: what a model's tokens cost.

Amounts are whole nano-dollars (USD): the cheapest models cost some tens of them a token, so that one call's rounding is
nothing, while a 64-bit column still holds nine billion dollars.
"""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from subclaw.core.model import Usage

NANO_USD = 1_000_000_000
"""Nano-dollars in a dollar."""


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


def cost_nano_usd(usage: Usage, price: Price) -> int:
    """Return what a call cost, in nano-dollars, rounded up."""
    read = min(usage.cache_read_tokens, usage.input_tokens)
    written = min(usage.cache_write_tokens, usage.input_tokens - read)
    parts = (
        (usage.input_tokens - read - written, price.input),
        (read, price.input if price.cache_read is None else price.cache_read),
        (written, price.input if price.cache_write is None else price.cache_write),
        (usage.output_tokens, price.output),
    )
    return nano_usd(sum((tokens * each for tokens, each in parts), Decimal(0)) / 1_000_000)


def nano_usd(usd: Decimal) -> int:
    """Return dollars as nano-dollars, rounded up: what is a little too much is never too little."""
    return int((usd * NANO_USD).to_integral_value(ROUND_CEILING))
