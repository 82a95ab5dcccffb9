"""Evals and replays with scripted models: what is played, what is served, and what is found."""

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest

from subclaw.business.evals import Case, Check, agrees, find, read_evals
from subclaw.business.init import example_files
from subclaw.business.package import read_package
from subclaw.business.recording import NOT_RECORDED, recorded_turns
from subclaw.business.trial_policy import guarded
from subclaw.core.errors import Unavailable
from subclaw.core.event import (
    Event,
    MessageReceived,
    ModelReplied,
    ReplyQueued,
    ToolFinished,
    ToolStarted,
    TurnFinished,
    TurnOutcome,
    TurnStarted,
)
from subclaw.core.model import ModelReply, ModelSaid, Prompt, ToolSaid, Usage, UserSaid
from subclaw.core.tool import Caller, ToolCall
from subclaw.core.tool_constraint import parse_constraint
from subclaw.core.tool_policy import Hours, Limit, Scope, ToolPolicy, ToolRule
from subclaw.store.recordings import Recording
from subclaw.testing.models import ScriptedModel, calls, words
from subclaw.tools.toolbox import Tool, define
from subclaw.turns.customers import make_version
from subclaw.turns.evals import NO_ANSWER, OVER, Stage, Verdict, run_cases
from subclaw.turns.rehearsal import Rehearsal
from subclaw.turns.replay import Compared, replay_turns

Answers = Sequence[ModelReply | Exception | Callable[[Prompt], ModelReply]]


FREE = ToolPolicy()


def order_status() -> Tool:
    async def perform(caller: Caller, arguments: Mapping[str, Any]) -> str:
        raise AssertionError("a trial does something")

    order = {"type": "string"}
    return Tool(definition=define("order_status", "Say where.", idempotent=True, order=order), perform=perform)


def rehearsal(model: ScriptedModel, policy: ToolPolicy = FREE) -> Rehearsal:
    version = make_version(read_package(example_files("shop")), ())
    tools = [order_status(), *version.own]
    return Rehearsal(
        instructions=version.text,
        model=model,
        tools=tools,
        step_limit=10,
        window_tokens=100_000,
        guard=functools.partial(guarded, policy),
    )


def played(
    agent: Answers, cases: Sequence[Case], other: Answers = (), policy: ToolPolicy = FREE
) -> tuple[Verdict, ...]:
    stage = Stage(rehearsal=rehearsal(ScriptedModel(agent), policy), other=ScriptedModel(other))
    return asyncio.run(run_cases(stage, cases))


def case(**fields: Any) -> Case:
    return Case.model_validate({"name": "a case", "say": ["Where is 1001?"], **fields})


def asked(order: str) -> ModelReply:
    return calls(("order_status", f'{{"order": "{order}"}}'))


def last_result(prompt: Prompt) -> str:
    return next(said.content for said in reversed(prompt.history) if isinstance(said, ToolSaid))


def test_the_examples_evals_pass_with_an_agent_that_does_what_it_should() -> None:
    first, second = read_evals(example_files("shop"))
    good: Answers = [asked("1001"), lambda prompt: words(f"It was {last_result(prompt)}.")]
    assert [verdict.is_met for verdict in played(good, [first])] == [True, True]
    verdicts = played([words("I cannot say.")], [second], [words("Where is 2000?"), words(OVER), words("YES. It did.")])
    assert verdicts == (
        Verdict(
            case="wants what is somebody else's",
            check="judge The agent said nothing about where the order 2000 is.",
            is_met=True,
            why="It did.",
        ),
    )


def test_what_is_not_met_says_what_was_there_instead() -> None:
    checks = [{"called": "order_status", "with": {"order": "1002"}}, {"contains": "Monday"}, {"not_contains": "dunno"}]
    found = played([asked("1001"), words("Dunno.")], [case(check=checks)])
    assert [verdict.is_met for verdict in found] == [False, False, False]
    assert [verdict.why for verdict in found] == ['order_status({"order":"1001"})', "Dunno.", "Dunno."]


def test_tools_answer_as_a_case_has_it_and_are_checked_by_their_schemas() -> None:
    results = list[str]()

    def noted(then: ModelReply) -> Callable[[Prompt], ModelReply]:
        def reply(prompt: Prompt) -> ModelReply:
            results.append(last_result(prompt))
            return then

        return reply

    answers = [{"tool": "order_status", "with": {"order": "1"}, "result": "one"}]
    played(
        [asked("1"), noted(asked("2")), noted(calls(("order_status", "{}"))), noted(words("Done."))],
        [case(answer=answers, check=[{"contains": "done"}])],
    )
    assert results[:2] == ["one", NO_ANSWER]
    assert "do not fit" in results[2]


def test_a_played_customer_sees_the_agents_replies_and_nothing_of_its_tools() -> None:
    other = ScriptedModel([words("Hello?"), words("And then?"), words(OVER)])
    stage = Stage(rehearsal=rehearsal(ScriptedModel([asked("1"), words("One."), words("Two.")])), other=other)
    one = case(say=[], user={"brief": "Be curt.", "messages": 5}, check=[{"contains": "two"}])
    assert [verdict.is_met for verdict in asyncio.run(run_cases(stage, [one]))] == [True]
    last = other.prompts[-1]
    assert "Be curt." in last.instructions
    assert last.history[1:] == [
        ModelSaid(text="Hello?"),
        UserSaid(text="One."),
        ModelSaid(text="And then?"),
        UserSaid(text="Two."),
    ]
    assert last.tools == ()


@pytest.mark.parametrize(("answer", "is_met"), [("Yes, it was.", True), ("NO: rude.", False), ("Perhaps.", False)])
def test_a_judge_says_yes_or_no_and_anything_else_is_no(answer: str, is_met: bool) -> None:
    (verdict,) = played([words("Hi.")], [case(check=[{"judge": "It was kind."}])], [words(answer)])
    assert verdict.is_met is is_met


def test_a_model_that_fails_fails_the_case_and_no_other() -> None:
    cases = [case(check=[{"contains": "a"}])]
    assert [verdict.is_met for verdict in played([Unavailable("The model is away.")], cases)] == [False]
    assert played([Unavailable("The model is away.")], cases)[0].why == "The model is away."


def test_what_is_not_to_be_called_is_found() -> None:
    call = ToolCall(id="1", name="refund", arguments='{"amount": 60, "order": "1"}')
    check = Check.model_validate({"not_called": "refund", "with": {"amount": 60}})
    assert find(check, [], [call]) is False
    assert find(check, [], []) is True
    assert find(Check.model_validate({"not_called": "refund", "with": {"amount": 50}}), [], [call]) is True


NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
USAGE = Usage(model="m", input_tokens=100, output_tokens=10)


def turn(said: str, order: str, result: str, reply: str) -> list[Event]:
    call = ToolCall(id=f"call_{said}", name="order_status", arguments=f'{{ "order": "{order}" }}')
    return [
        TurnStarted(),
        MessageReceived(text=said, provider_id=said),
        ModelReplied(text="", calls=(call,), usage=USAGE),
        ToolStarted(call_id=call.id),
        ToolFinished(call_id=call.id, content=result, is_error=False),
        ModelReplied(text=reply, calls=(), usage=USAGE),
        ReplyQueued(text=reply),
        TurnFinished(outcome=TurnOutcome.ANSWERED),
    ]


RECORDING = [*turn("one?", "1", "shipped", "It was shipped."), *turn("two?", "2", "packed", "It is being packed.")]


TIMES = [NOON + timedelta(hours=index // 8) for index in range(len(RECORDING))]


def replayed(answers: Answers, policy: ToolPolicy = FREE) -> tuple[tuple[Compared, ...], ScriptedModel]:
    model = ScriptedModel(answers)
    recording = Recording(
        agent="shop", version=1, customer="C-1", binding={}, events=tuple(RECORDING), times=tuple(TIMES)
    )
    return asyncio.run(replay_turns(rehearsal(model, policy), recording)), model


def test_a_replay_serves_what_tools_said_and_finds_what_changes() -> None:
    def agent(prompt: Prompt) -> ModelReply:
        said = [one for one in prompt.history if isinstance(one, UserSaid)][-1].text
        is_asked = not isinstance(prompt.history[-1], ToolSaid)
        if "one?" in said:
            return asked("1") if is_asked else words(f"It was {last_result(prompt)}.")
        return asked("3") if is_asked else words(last_result(prompt))

    (one, two), model = replayed([agent])
    assert (one.number, one.said, one.changed()) == (1, "one?", ())
    assert two.changed() == ("reply", "calls")
    assert two.after.reply == NOT_RECORDED
    assert two.unknown == ('order_status({"order":"3"})',)
    assert (one.before.tokens, one.after.tokens) == (220, 30)
    second = next(prompt for prompt in model.prompts if "two?" in repr(prompt.history[-1]))
    assert "It was shipped." in repr(second.history), "each turn begins with what really came before"


def test_what_a_policy_refused_at_the_time_is_not_served() -> None:
    def agent(prompt: Prompt) -> ModelReply:
        if isinstance(prompt.history[-1], ToolSaid):
            return words(last_result(prompt))
        return asked("1" if "one?" in repr(prompt.history[-1]) else "2")

    until_one = Hours(days=frozenset(range(7)), begin=time(9), end=time(13))
    policy = ToolPolicy(rules=(ToolRule(pattern="order_*", hours=(until_one,)),))
    (one, two), _ = replayed([agent], policy)
    assert one.after.reply == "shipped"
    assert "not possible at this hour" in two.after.reply


def test_a_policys_limits_count_in_a_case_and_its_constraints_know_the_binding() -> None:
    def agent(prompt: Prompt) -> ModelReply:
        return words(last_result(prompt)) if isinstance(prompt.history[-1], ToolSaid) else asked("1")

    once = Limit(scope=Scope.CUSTOMER, most=Decimal(1))
    answers = [{"tool": "order_status", "result": "shipped"}]
    twice = case(say=["Where?", "Where now?"], answer=answers, check=[{"contains": "the limit of 1 calls a day"}])
    limited = ToolPolicy(rules=(ToolRule(pattern="order_*", limits=(once,)),))
    assert [verdict.is_met for verdict in played([agent], [twice], policy=limited)] == [True]

    own = ToolPolicy(rules=(ToolRule(pattern="order_*", require=(parse_constraint("order == binding.order"),)),))
    one, other = (
        case(name=order, answer=answers, binding={"order": order}, check=[{"contains": "shipped"}]) for order in "12"
    )
    assert [verdict.is_met for verdict in played([agent], [one, other], policy=own)] == [True, False]


def test_a_replay_that_fails_says_why() -> None:
    found, _ = replayed([Unavailable("The model is away.")])
    assert [(one.failed, one.changed()[0]) for one in found] == [("The model is away.", "failed")] * 2


def test_a_turn_that_runs_or_in_which_nobody_said_anything_is_not_replayed() -> None:
    idle: list[Event] = [TurnStarted(), TurnFinished(outcome=TurnOutcome.ANSWERED)]
    open_turn: list[Event] = [TurnStarted(), MessageReceived(text="x", provider_id="x")]
    assert [one.number for one in recorded_turns([*idle, *RECORDING, *open_turn])] == [1, 2]


@pytest.mark.parametrize(
    ("made", "agree"),
    [
        ({"order": "1", "body": {"amount": 30.0, "reason": "torn"}}, True),
        ({"order": "1", "body": {"amount": 31}}, False),
        ({"order": "1", "body": {"reason": "torn"}}, False),
        ({"order": "1", "body": 30}, False),
        ({"body": {"amount": 30}}, False),
        ("none", False),
    ],
)
def test_arguments_agree_that_have_what_is_given_and_more(made: object, agree: bool) -> None:
    assert agrees({"order": "1", "body": {"amount": 30}}, made) is agree
