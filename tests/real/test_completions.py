"""Completions in a real PostgreSQL: reserved before and charged after at every level, and nobody goes beyond."""

import asyncio
from dataclasses import replace

import pytest
from tests.budgets import Counted, counted, owner_rows, replied, running
from tests.real.test_budgets import EACH_TENANT, OPERATOR_DAY, limit, run

from subclaw.core.agent import AgentSettings
from subclaw.core.budget import Budget, Estimate, Kind, Level, Tariff, estimate
from subclaw.core.completion import Asker
from subclaw.core.errors import Exhausted, SubclawError, Unavailable
from subclaw.core.model import Model, ModelReply, Prompt, Usage, UserSaid
from subclaw.core.tenant import TenantId
from subclaw.core.tokens import prompt_tokens
from subclaw.core.turn import Lease
from subclaw.store import conversations
from subclaw.store.budgets import all_budgets, reserve
from subclaw.store.completions import lapse_completions, reserve_completion, settle_completion
from subclaw.store.database import Database, DatabaseAddress, Role, open_database
from subclaw.testing.models import ScriptedModel, words
from subclaw.turns.completions import AT_ONCE, WAITING_LIMIT, AskedModels, MeteredCompletions

TOKENS_A_CALL = 15
LEVELS = (Level.CONVERSATION, Level.TENANT, Level.AGENT, Level.OPERATOR)
TARIFF = Tariff(price=lambda usage: 10 * (usage.input_tokens + usage.output_tokens), model="usual", cheaper="cheaper")
ANY = AgentSettings()


def prompt(text: str = "hello", limit_tokens: int = 50) -> Prompt:
    return Prompt(instructions="", history=[UserSaid(text=text)], tools=(), limit_tokens=limit_tokens)


NEEDED = estimate(prompt(), TARIFF).tokens
"""What a prompt reserves."""


def asker_of(lease: Lease) -> Asker:
    return Asker(tenant_id=lease.tenant_id, conversation_id=lease.conversation_id)


def metered(
    database: Database,
    model: Model,
    *,
    cheaper: Model | None = None,
    agent: AgentSettings = ANY,
    completion_s: float = 30.0,
) -> MeteredCompletions:
    async def models_of(_: TenantId) -> AskedModels:
        return AskedModels(usual=model, cheaper=cheaper, tariff=TARIFF)

    return MeteredCompletions(database=database, models_of=models_of, agent=agent, completion_s=completion_s)


def texts(answers: object) -> list[str]:
    assert isinstance(answers, list)
    return [answer.text if isinstance(answer, ModelReply) else answer.public for answer in answers]


class Gate(ScriptedModel):
    """Answers once it is opened, and keeps how many were asked at once."""

    def __init__(self) -> None:
        super().__init__([words("through")])
        self.open, self.full = asyncio.Event(), asyncio.Event()
        self.under_way = self.most = 0

    async def ask(self, prompt: Prompt) -> ModelReply:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        if self.under_way == AT_ONCE:
            self.full.set()
        try:
            await self.open.wait()
            return await super().ask(prompt)
        finally:
            self.under_way -= 1


def used(address: DatabaseAddress) -> list[tuple[object, ...]]:
    return owner_rows(
        address, "SELECT conversation_id, seq, model, input_tokens + output_tokens, cost_microusd FROM usage"
    )


def test_a_completion_is_charged_at_every_level_and_recorded(address: DatabaseAddress) -> None:
    limit(address, *(replace(OPERATOR_DAY, level=level, hard=10_000) for level in LEVELS))
    (lease,) = running(address)

    async def scenario(database: Database) -> None:
        answers = await metered(database, ScriptedModel([words("yes")])).complete(asker_of(lease), [prompt()] * 3)
        assert texts(answers) == ["yes"] * 3

    run(scenario, address)
    for level, subject in zip(LEVELS, (str(lease.conversation_id), str(lease.tenant_id), "default", "*"), strict=True):
        assert counted(address, level, "tokens", subject) == Counted(used=3 * TOKENS_A_CALL, reserved=0)
    assert used(address) == [(lease.conversation_id, None, "scripted", 15, 150)] * 3


def test_a_machines_completion_is_no_conversations(address: DatabaseAddress) -> None:
    limit(address, *(replace(OPERATOR_DAY, level=level, hard=10_000) for level in LEVELS))
    (lease,) = running(address)

    async def scenario(database: Database) -> None:
        asker = Asker(tenant_id=lease.tenant_id)
        assert texts(await metered(database, ScriptedModel([words("yes")])).complete(asker, [prompt()])) == ["yes"]

    run(scenario, address)
    assert counted(address, "tenant", "tokens", str(lease.tenant_id)).used == TOKENS_A_CALL
    assert counted(address, "operator", "tokens").used == TOKENS_A_CALL
    assert owner_rows(address, "SELECT count(*) FROM budget_counter WHERE level = 'conversation'") == [(0,)]
    assert used(address) == [(None, None, "scripted", 15, 150)]


def test_without_budgets_it_is_recorded_and_nothing_is_counted(address: DatabaseAddress) -> None:
    (lease,) = running(address)

    async def scenario(database: Database) -> None:
        await metered(database, ScriptedModel([words("yes")])).complete(asker_of(lease), [prompt()])

    run(scenario, address)
    assert owner_rows(address, "SELECT count(*) FROM budget_counter") == [(0,)]
    assert owner_rows(address, "SELECT count(*) FROM completion") == [(0,)]
    assert len(used(address)) == 1


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_must_have_room(address: DatabaseAddress, level: Level) -> None:
    wide = [replace(OPERATOR_DAY, level=other, hard=10_000) for other in Level if other is not level]
    limit(address, *wide, replace(OPERATOR_DAY, level=level, hard=NEEDED - 1))
    (lease,) = running(address)
    model = ScriptedModel([words("never")])

    async def scenario(database: Database) -> None:
        (answer,) = await metered(database, model).complete(asker_of(lease), [prompt()])
        assert isinstance(answer, Exhausted)
        assert answer.public.endswith("It is refilled at midnight (UTC).")

    run(scenario, address)
    assert model.prompts == []
    assert used(address) == []


@pytest.mark.parametrize("calls", [1, 3, 8])
def test_at_once_no_more_are_asked_than_there_is_room_for(address: DatabaseAddress, calls: int) -> None:
    """What is reserved keeps the others out: 20 at once, and room for a few."""
    limit(address, replace(OPERATOR_DAY, hard=NEEDED * calls), EACH_TENANT_WIDE)
    lease, other = running(address, tenants=2)
    model = Gate()

    async def scenario(database: Database) -> None:
        completions = metered(database, model)
        asking = [asyncio.create_task(completions.complete(asker_of(one), [prompt()])) for one in (lease, other) * 20]
        async with asyncio.timeout(20):
            while sum(one.done() for one in asking) < 40 - calls:
                assert counted(address, "operator", "tokens").reserved <= NEEDED * calls
                await asyncio.sleep(0.01)
        assert model.under_way == calls
        model.open.set()
        answers = [(await one)[0] for one in asking]
        assert [isinstance(answer, Exhausted) for answer in answers].count(False) == calls

    run(scenario, address)
    assert counted(address, "operator", "tokens") == Counted(used=calls * TOKENS_A_CALL, reserved=0)
    assert len(used(address)) == calls


EACH_TENANT_WIDE = replace(EACH_TENANT, hard=10**9)


def test_a_turns_call_and_completions_reserve_beside_each_other(address: DatabaseAddress) -> None:
    limit(address, OPERATOR_DAY)
    (lease,) = running(address)
    asker = asker_of(lease)

    async def scenario(database: Database) -> None:
        one = await reserve_completion(database, asker, call(40), ANY, lives_s=60)
        assert (await reserve(database, lease, call(61))).hard is not None
        assert (await reserve(database, lease, call(60))).hard is None
        assert counted(address, "operator", "tokens") == Counted(used=0, reserved=100)
        assert (await reserve_completion(database, asker, call(1), ANY, lives_s=60)).room.hard is not None
        assert one.id is not None
        await settle_completion(database, asker, one.id, Usage(model="m", input_tokens=7, output_tokens=0))
        assert counted(address, "operator", "tokens") == Counted(used=7, reserved=60), (
            "the turn's own is still reserved"
        )
        await settle_completion(database, asker, one.id, Usage(model="m", input_tokens=7, output_tokens=0))
        assert counted(address, "operator", "tokens").used == 7, "settled once"
        await conversations.append(database, lease, [replied(20)])
        assert counted(address, "operator", "tokens") == Counted(used=27, reserved=0)

    run(scenario, address)


def call(tokens: int) -> Estimate:
    return Estimate(tokens=tokens, microusd=0, cheaper_microusd=0)


def test_what_a_dead_worker_had_reserved_lapses(address: DatabaseAddress) -> None:
    limit(address, OPERATOR_DAY)
    (lease,) = running(address)

    async def scenario(database: Database) -> None:
        for lives_s in (-1, -1, 60):
            assert (await reserve_completion(database, asker_of(lease), call(30), ANY, lives_s=lives_s)).id
        assert await lapse_completions(database) == 2
        assert counted(address, "operator", "tokens") == Counted(used=0, reserved=30)

    run(scenario, address)


def test_a_tenant_that_is_erased_leaves_nothing_reserved_or_recorded(address: DatabaseAddress) -> None:
    limit(address, OPERATOR_DAY)
    (lease,) = running(address)
    machine = Asker(tenant_id=lease.tenant_id)

    async def scenario(database: Database) -> None:
        for asker in (machine, asker_of(lease)):
            assert (await reserve_completion(database, asker, call(30), ANY, lives_s=60)).id
        await metered(database, ScriptedModel([words("yes")])).complete(machine, [prompt(limit_tokens=5)])

    run(scenario, address)
    owner_rows(address, "DELETE FROM tenant")
    assert counted(address, "operator", "tokens") == Counted(used=TOKENS_A_CALL, reserved=0)
    assert used(address) == []


def test_a_conversation_that_is_not_the_tenants_is_not_charged(address: DatabaseAddress) -> None:
    limit(address, OPERATOR_DAY)
    mine, other = running(address, tenants=2)

    async def scenario(database: Database) -> None:
        asker = Asker(tenant_id=mine.tenant_id, conversation_id=other.conversation_id)
        (answer,) = await metered(database, ScriptedModel([words("no")])).complete(asker, [prompt()])
        assert isinstance(answer, SubclawError)
        kept = await reserve_completion(database, asker_of(mine), call(1), ANY, lives_s=60)
        assert kept.id is not None
        await settle_completion(database, asker_of(other), kept.id, Usage(model="m", input_tokens=9, output_tokens=0))
        assert counted(address, "operator", "tokens") == Counted(used=0, reserved=1)

    run(scenario, address)


def test_one_that_is_cancelled_costs_what_its_prompt_took(address: DatabaseAddress) -> None:
    limit(address, OPERATOR_DAY_WIDE)
    (lease,) = running(address)
    model = Gate()

    async def scenario(database: Database) -> None:
        asking = asyncio.create_task(metered(database, model).complete(asker_of(lease), [prompt()] * 10))
        await model.full.wait()
        asking.cancel()
        async with asyncio.timeout(10):
            with pytest.raises(asyncio.CancelledError):
                await asking

    run(scenario, address)
    taken = AT_ONCE * prompt_tokens(prompt())
    assert counted(address, "operator", "tokens") == Counted(used=taken, reserved=0)
    assert {row[2] for row in used(address)} == {"usual"}


OPERATOR_DAY_WIDE = replace(OPERATOR_DAY, hard=10**9)


def test_whenever_one_is_cancelled_nothing_stays_reserved(address: DatabaseAddress) -> None:
    """Also while it reserves or is charged: who comes and goes must not use up the room of the others."""
    limit(address, OPERATOR_DAY_WIDE)
    (lease,) = running(address)
    ended = {"cancelled": 0, "answered": 0}

    async def scenario(database: Database) -> None:
        completions = metered(database, ScriptedModel([words("yes")]))
        for number in range(60):
            asking = asyncio.create_task(completions.complete(asker_of(lease), [prompt()]))
            await asyncio.wait([asking], timeout=number / 2_000)
            asking.cancel()
            await asyncio.wait([asking])
            ended["cancelled" if asking.cancelled() else "answered"] += 1
        assert counted(address, "operator", "tokens").reserved == 0

    run(scenario, address)
    assert all(ended.values())
    assert owner_rows(address, "SELECT count(*) FROM completion") == [(0,)]


def test_one_that_takes_too_long_is_said_and_charged(address: DatabaseAddress) -> None:
    limit(address, OPERATOR_DAY_WIDE)
    (lease,) = running(address)

    async def scenario(database: Database) -> None:
        completions = metered(database, Gate(), completion_s=0.2)
        assert texts(await completions.complete(asker_of(lease), [prompt()])) == ["The model took too long."]

    run(scenario, address)
    assert counted(address, "operator", "tokens") == Counted(used=prompt_tokens(prompt()), reserved=0)


def test_one_that_fails_costs_nothing_and_the_others_come(address: DatabaseAddress) -> None:
    limit(address, OPERATOR_DAY_WIDE)
    (lease,) = running(address)

    def answered(asked: Prompt) -> ModelReply | Exception:
        text = asked.history[0].text if isinstance(asked.history[0], UserSaid) else ""
        return Unavailable("The model is down.") if text == "b" else words(text)

    async def scenario(database: Database) -> None:
        completions = metered(database, ScriptedModel([answered]))
        answers = await completions.complete(asker_of(lease), [prompt(text) for text in "abc"])
        assert texts(answers) == ["a", "The model is down.", "c"]

    run(scenario, address)
    assert counted(address, "operator", "tokens") == Counted(used=2 * TOKENS_A_CALL, reserved=0)


def test_from_a_soft_limit_on_the_cheaper_model_answers(address: DatabaseAddress) -> None:
    limit(address, Budget(level=Level.TENANT, subject="*", kind=Kind.MONEY, period=OPERATOR_DAY.period, soft=0))
    (lease,) = running(address)

    async def scenario(database: Database) -> None:
        completions = metered(database, ScriptedModel([words("usual")]), cheaper=ScriptedModel([words("cheaper")]))
        assert texts(await completions.complete(asker_of(lease), [prompt()])) == ["cheaper"]

    run(scenario, address)


def test_a_turns_own_limit_counts_its_calls_and_its_completions(address: DatabaseAddress) -> None:
    (lease,) = running(address)
    owner_rows(
        address,
        "INSERT INTO event (conversation_id, seq, tenant_id, type, body) VALUES (%s, 0, %s, 'turn.started', '{}')",
        lease.conversation_id,
        lease.tenant_id,
    )
    agent = AgentSettings(turn_limit_tokens=100 + 2 * NEEDED)

    async def scenario(database: Database) -> None:
        await conversations.append(database, lease, [replied(100)])
        completions = metered(database, ScriptedModel([words("yes")]), agent=agent)
        answers = await completions.complete(asker_of(lease), [prompt()] * 5)
        assert sum(isinstance(answer, ModelReply) for answer in answers) >= 2
        while isinstance((await completions.complete(asker_of(lease), [prompt()]))[0], ModelReply):
            pass
        (refused,) = await completions.complete(asker_of(lease), [prompt()])
        assert isinstance(refused, Exhausted)
        assert "more than one answer may use" in refused.public

    run(scenario, address)
    assert 100 + len(used(address)[1:]) * TOKENS_A_CALL <= 100 + 2 * NEEDED


def test_a_tenant_has_some_at_once_and_the_rest_wait_or_are_refused(address: DatabaseAddress) -> None:
    lease, other = running(address, tenants=2)
    model = Gate()

    async def scenario(database: Database) -> None:
        completions = metered(database, model)
        asking = [asyncio.create_task(completions.complete(asker_of(lease), [prompt()] * 20)) for _ in range(5)]
        await model.full.wait()
        others = asyncio.create_task(completions.complete(asker_of(other), [prompt()]))
        async with asyncio.timeout(10):
            while model.under_way < AT_ONCE + 1:
                await asyncio.sleep(0.01)
        assert model.most == AT_ONCE + 1, "another tenant does not wait"
        model.open.set()
        answers = [answer for one in asking for answer in await one]
        assert len([answer for answer in answers if isinstance(answer, ModelReply)]) == WAITING_LIMIT
        assert len([answer for answer in answers if isinstance(answer, Exhausted)]) == 100 - WAITING_LIMIT
        assert texts(await others) == ["through"]

    run(scenario, address)


def test_the_operator_sees_what_completions_use(address: DatabaseAddress) -> None:
    limit(address, OPERATOR_DAY_WIDE)
    (lease,) = running(address)

    async def scenario(database: Database) -> None:
        await reserve_completion(database, asker_of(lease), call(30), ANY, lives_s=60)
        async with open_database(address, Role.OPERATOR, size=1) as operator:
            (budget,) = await all_budgets(operator, limit=9)
            assert (budget.used, budget.reserved) == (0, 30)

    run(scenario, address)
