"""What models cost and take: the operator's word, the table, and the caution for what nobody knows."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subclaw.core.model import Usage
from subclaw.core.price import MICRO_USD, Price, cost_microusd
from subclaw.models.choice import DEFAULT_MODELS
from subclaw.models.prices import UNKNOWN_PRICE, UNKNOWN_WINDOW_TOKENS, Prices

CALL = Usage(model="served", input_tokens=1_000_000, output_tokens=1_000_000, choice="openai:my-model")
OWN = Prices(
    own={"openai:my-model": Price(input=Decimal("0.15"), output=Decimal("0.6"), cache_read=Decimal("0.015"))},
    windows={"openai:my-model": 8_192},
)
COUNTS = st.integers(0, 10**9)


def usd(micro: int) -> Decimal:
    return Decimal(micro) / MICRO_USD


def test_the_operators_price_is_for_the_model_that_was_asked_whatever_answers() -> None:
    assert usd(OWN.price_of(CALL)) == Decimal("0.75")
    assert usd(OWN.price_of(replace(CALL, cache_read_tokens=1_000_000))) == Decimal("0.615")
    assert usd(OWN.price_of(replace(CALL, cache_write_tokens=1_000_000))) == Decimal("0.75")


def test_a_known_model_has_the_tables_price_also_under_a_dated_name() -> None:
    call = replace(CALL, choice="openai:gpt-4o", cache_read_tokens=1_000_000)
    assert usd(Prices().price_of(call)) == Decimal("11.25")
    assert Prices().price_of(replace(call, choice="", model="gpt-4o-2024-08-06")) == Prices().price_of(call)
    assert Prices().price_of(replace(call, choice="openai:elsewhere", model="gpt-4o")) == Prices().price_of(call)


def test_a_call_that_is_still_to_be_made_names_its_model_alone() -> None:
    call = replace(CALL, choice="", model="openai:gpt-4o")
    assert usd(Prices().price_of(call)) == Decimal("12.5")
    assert OWN.price_of(replace(CALL, choice="", model="openai:my-model")) == OWN.price_of(CALL)
    assert Prices().price_of(replace(call, model="demo")) == 0


def test_a_model_that_nobody_knows_is_dear_and_never_free() -> None:
    assert Prices().price_of(CALL) == cost_microusd(CALL, UNKNOWN_PRICE) == 90 * MICRO_USD
    assert Prices().price_of(replace(CALL, choice="google:gemma-3")) == 90 * MICRO_USD
    assert Prices().price_of(replace(CALL, choice="", model="")) == 90 * MICRO_USD


def test_only_the_demo_and_what_the_operator_says_are_free() -> None:
    free = Prices(own={"openai:my-model": Price(input=Decimal(0), output=Decimal(0))})
    assert free.price_of(CALL) == 0
    assert Prices().price_of(replace(CALL, choice="demo")) == 0


def test_it_is_said_whose_price_nobody_knows() -> None:
    choices = [f"{provider}:{model}" for provider, model in DEFAULT_MODELS.items()]
    assert Prices().unpriced([*choices, "demo", "openai:my-model"]) == ("openai:my-model",)
    assert OWN.unpriced(["openai:my-model"]) == ()


@pytest.mark.parametrize(
    ("choice", "tokens"),
    [("openai:gpt-4o", 128_000), ("openai:my-model", 8_192), ("anthropic:unheard-of", UNKNOWN_WINDOW_TOKENS)],
)
def test_windows(choice: str, tokens: int) -> None:
    assert OWN.window_tokens(choice) == tokens


@given(COUNTS, COUNTS, COUNTS, COUNTS, st.sampled_from(["openai:my-model", "openai:gpt-4o", "anthropic:who-knows"]))
def test_no_count_however_odd_is_free_or_fails(input_: int, output: int, read: int, written: int, choice: str) -> None:
    call = Usage(
        model="served",
        input_tokens=input_,
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=written,
        choice=choice,
    )
    cost = OWN.price_of(call)
    assert cost > 0 or input_ == output == 0
    assert isinstance(cost, int)
    assert cost <= OWN.price_of(replace(call, output_tokens=output + 1))
