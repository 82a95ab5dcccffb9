"""Budgets without a database: what a call may use, what a turn has left, which limits can be, and the words."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from subclaw.core.agent import AgentSettings
from subclaw.core.budget import (
    FREE,
    Budget,
    Estimate,
    Kind,
    Level,
    Period,
    Reached,
    Tariff,
    check_budget,
    estimate,
    over_detail,
    over_words,
    soft_words,
    turn_over,
)
from subclaw.core.errors import Invalid
from subclaw.core.event import Event, MessageReceived, ModelReplied, TurnFinished, TurnOutcome, TurnStarted
from subclaw.core.model import REPLY_LIMIT_TOKENS, ModelSaid, Prompt, ToolSaid, Usage, UserSaid
from subclaw.core.tokens import prompt_tokens
from subclaw.core.tool import ToolCall, ToolDefinition

CALL = ToolCall(id="c1", name="act", arguments='{"a": 1}')
TOOL = ToolDefinition(name="act", description="Acts.", parameters={"type": "object"}, idempotent=True)
PROMPT = Prompt(
    instructions="be kind",
    history=(UserSaid(text="hello"), ModelSaid(text="well", calls=(CALL,)), ToolSaid(call=CALL, content="done")),
    tools=(TOOL,),
)
TENANT_DAY = Budget(level=Level.TENANT, subject="*", kind=Kind.MONEY, period=Period.DAY, hard=5)
MIDNIGHT = datetime(2026, 12, 1, tzinfo=UTC)


def price(usage: Usage) -> int:
    return (usage.input_tokens + usage.output_tokens) * {"dear": 10, "cheap": 1}[usage.model]


def reached(level: Level, period: Period, kind: Kind = Kind.MONEY) -> Reached:
    return Reached(level=level, kind=kind, period=period, until=None if period is Period.TOTAL else MIDNIGHT)


def test_a_call_may_use_its_prompt_and_the_longest_reply() -> None:
    tokens = prompt_tokens(PROMPT) + REPLY_LIMIT_TOKENS
    assert estimate(PROMPT, Tariff(price=price, model="dear", cheaper="cheap")) == Estimate(
        tokens=tokens, microusd=10 * tokens, cheaper_microusd=tokens
    )
    assert estimate(PROMPT, Tariff(price=price, model="dear")).cheaper_microusd == 10 * tokens
    assert estimate(PROMPT, FREE).microusd == 0


def replied(tokens: int, microusd: int) -> ModelReplied:
    usage = Usage(model="m", input_tokens=tokens - 1, output_tokens=1, cost_microusd=microusd)
    return ModelReplied(text="", calls=(), usage=usage)


@pytest.mark.parametrize(
    ("agent", "over"),
    [
        (AgentSettings(), False),
        (AgentSettings(turn_limit_tokens=130, turn_limit_microusd=13), False),
        (AgentSettings(turn_limit_tokens=129), True),
        (AgentSettings(turn_limit_microusd=12), True),
    ],
)
def test_a_turn_has_room_for_what_its_limits_leave(agent: AgentSettings, over: bool) -> None:
    earlier: list[Event] = [TurnStarted(), replied(10**6, 10**6), TurnFinished(outcome=TurnOutcome.ANSWERED)]
    hello = MessageReceived(text="hello", provider_id="1")
    turn: list[Event] = [*earlier, TurnStarted(), hello, replied(20, 2), replied(10, 1)]
    call = Estimate(tokens=100, microusd=10, cheaper_microusd=1)
    assert (turn_over(turn, agent, call) is not None) is over


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (replace(TENANT_DAY, hard=None), "soft limit, a hard limit or both"),
        (replace(TENANT_DAY, hard=-1), "below zero"),
        (replace(TENANT_DAY, hard=10**15 + 1), "billion"),
        (replace(TENANT_DAY, soft=6), "at most the hard one"),
        (replace(TENANT_DAY, kind=Kind.SEGMENTS, soft=1), "Only money and tokens"),
        (replace(TENANT_DAY, level=Level.CONVERSATION, kind=Kind.MACHINE_S), "a tenant's"),
        (replace(TENANT_DAY, level=Level.OPERATOR, subject="1"), "one operator"),
        (replace(TENANT_DAY, level=Level.AGENT, subject="Other"), "An agent is named"),
        (replace(TENANT_DAY, subject="calm-otter"), "by its number"),
    ],
)
def test_budgets_that_cannot_be_are_told_in_words(budget: Budget, words: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_budget(budget)
    assert words in caught.value.public


def test_budgets_that_can_be() -> None:
    check_budget(replace(TENANT_DAY, soft=5))
    check_budget(replace(TENANT_DAY, level=Level.AGENT, subject="default"))
    check_budget(replace(TENANT_DAY, level=Level.CONVERSATION, subject="12"))


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (
            reached(Level.TENANT, Period.DAY),
            "Today's allowance is used up, so I can't go on now. It is refilled at midnight (UTC).",
        ),
        (
            reached(Level.OPERATOR, Period.MONTH),
            "This month's allowance that everybody here shares is used up, so I can't go on now."
            " It is refilled on 1 December (UTC).",
        ),
        (
            reached(Level.CONVERSATION, Period.TOTAL),
            "The allowance of this conversation is used up, so I can't go on now. Whoever runs me can raise it.",
        ),
    ],
)
def test_a_person_is_told_which_budget_is_used_up_and_when_it_is_refilled(budget: Reached, words: str) -> None:
    assert over_words(budget) == words


def test_a_warning_is_one_sentence() -> None:
    today = reached(Level.TENANT, Period.DAY)
    assert soft_words(today, degraded=False) == "(Most of today's allowance is used; it is refilled at midnight (UTC).)"
    assert "simpler model" in soft_words(today, degraded=True)
    assert soft_words(reached(Level.TENANT, Period.TOTAL), degraded=False) == "(Most of the allowance is used.)"


def test_the_operator_is_told_which_budget_it_is() -> None:
    detail = over_detail(reached(Level.TENANT, Period.DAY, Kind.SEGMENTS))
    assert detail == "over budget: tenant, segments, day"
