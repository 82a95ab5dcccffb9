"""Turns of customers against a real PostgreSQL: the version's own text, tools and limits, and nothing else."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import psycopg
import pytest

from subclaw.app.business import customer_tailor
from subclaw.business.package import read_package
from subclaw.core.agent import AgentSettings
from subclaw.core.budget import FREE, Budget, Kind, Level, Period
from subclaw.core.business import AgentPackage, CustomerSession
from subclaw.core.channel import Address, InboundMessage
from subclaw.core.machine import Command, CommandResult, Ended, Machines
from subclaw.core.model import Model, ModelReply, Prompt, ToolSaid
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller
from subclaw.models.by_name import OpenedModel
from subclaw.store.agents import apply
from subclaw.store.budgets import set_budget
from subclaw.store.customers import open_session
from subclaw.store.database import Database, DatabaseAddress, Role, Stranger, open_database
from subclaw.store.turn_machines import (
    Taken,
    claim_turn_machines,
    forget_turn_machine,
    have_turn_machine,
    take_turn_machine,
)
from subclaw.testing.models import ScriptedModel, calls, words
from subclaw.tools.toolbox import BuiltInToolbox, Tool, define
from subclaw.turns.customers import by_tenant
from subclaw.turns.intake import StoreIntake
from subclaw.turns.run import GIVEN_UP, Turns, as_they_are
from subclaw.turns.turn_machines import keep_clearing
from subclaw.turns.worker import work

DEADLINE_S = 20
SKILL = b"# Returns\n\nWhen something comes back.\n\nSay: 30 days.\n"
BINDING = {"customer_id": "canary-C17", "token": "canary-token"}


def folder(compute: str = "none", **more: bytes) -> dict[str, bytes]:
    tools = "" if compute == "none" else 'machine_tools = ["shell_exec"]\n'
    settings = f'id = "shop"\ncompute = "{compute}"\n{tools}[limits]\nsteps = 4\n'
    named = {name.replace("__", "/").replace("_md", ".md"): content for name, content in more.items()}
    return {"agent.toml": settings.encode(), "instructions.md": b"You are the shop.", **named}


@dataclass(kw_only=True)
class Recorded:
    """Machines that write down what they are asked for."""

    done: list[str] = field(default_factory=list)

    async def run(self, tenant_id: TenantId, command: Command) -> CommandResult:
        """Write down the command."""
        self.done.append(command.text)
        return CommandResult(ended=Ended.EXITED, exit_status=0, output=b"", output_bytes=0)

    async def destroy(self, tenant_id: TenantId) -> None:
        """Write down that the machine was erased."""
        self.done.append("erased")

    async def checkpoint(self, tenant_id: TenantId, label: str) -> None:
        """Keep nothing."""


@dataclass(kw_only=True)
class Scene:
    """A worker's turns for customers of the shop."""

    database: Database
    operator: Database
    address: DatabaseAddress
    model: ScriptedModel
    machines: Recorded
    turns: Turns
    opened: list[str] = field(default_factory=list)

    async def apply(self, files: Mapping[str, bytes]) -> None:
        """Apply a folder."""
        await apply(self.operator, read_package(files))

    async def open(self, customer: str = "anna") -> CustomerSession:
        """Open a session."""
        return await open_session(self.database, "shop", customer, BINDING)

    async def say(self, session: CustomerSession, *texts: str) -> list[str]:
        """Say texts one after the other; return all replies of the session."""
        found = await asyncio.to_thread(self.replies, session)
        intake = StoreIntake(self.database, sends=lambda _: False, public_url="http://localhost")
        worker = asyncio.create_task(work(self.turns, self.address, limit=8))
        for number, text in enumerate(texts):
            sender = Address(channel="api", address=session.session_id)
            await intake.receive(
                InboundMessage(
                    sender=sender, provider_id=f"{len(found)}-{number}", text=text, received_at=datetime.now(UTC)
                )
            )
            wanted = len(found) + 1
            async with asyncio.timeout(DEADLINE_S):
                while len(found := await asyncio.to_thread(self.replies, session)) < wanted:
                    await asyncio.sleep(0.01)
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
        return found

    def replies(self, session: CustomerSession) -> list[str]:
        """Return what the agent said in a session."""
        query = "SELECT body ->> 'text' FROM event WHERE type = 'reply.queued' AND tenant_id = %s ORDER BY seq"
        with psycopg.connect(self.address.conninfo(Role.OWNER)) as connection:
            return [text for (text,) in connection.execute(query, [session.tenant_id])]


async def tools_of(package: AgentPackage, own: Sequence[Tool]) -> Sequence[Tool]:
    async def perform(caller: Caller, arguments: Mapping[str, Any]) -> str:
        return "shipped"

    return Tool(definition=define("order_status", "Say where.", idempotent=True), perform=perform), *own


async def no_placeholders(tenant_id: TenantId) -> Mapping[str, str]:
    return {}


def run(
    address: DatabaseAddress,
    scenario: Callable[[Scene], Awaitable[None]],
    *answers: ModelReply | Callable[[Prompt], ModelReply],
) -> None:
    async def main() -> None:
        async with open_database(address, Role.APP) as database, open_database(address, Role.OPERATOR) as operator:
            model, machines, opened = ScriptedModel(answers), Recorded(), list[str]()

            def model_of(name: str) -> OpenedModel:
                opened.append(name)
                return OpenedModel(model=cast(Model, model), cheaper=None, tariff=FREE, window_tokens=100_000)

            customers = customer_tailor(
                database=database,
                machines=cast(Machines, machines),
                placeholders=no_placeholders,
                model_of=model_of,
                clock=lambda: datetime(2026, 11, 22, tzinfo=UTC),
                tools_of=tools_of,
            )
            shell = Tool(definition=define("shell_exec", "Run.", idempotent=False), perform=_never)
            turns = Turns(
                database=database,
                model=model,
                toolbox=BuiltInToolbox([shell]),
                instructions=lambda _: "a person's own",
                agent=AgentSettings(),
                sends=lambda _: False,
                tailor=by_tenant(as_they_are, customers),
            )
            await scenario(
                Scene(
                    database=database,
                    operator=operator,
                    address=address,
                    model=model,
                    machines=machines,
                    turns=turns,
                    opened=opened,
                )
            )

    asyncio.run(main())


async def _never(caller: Caller, arguments: Mapping[str, Any]) -> str:
    raise AssertionError("a customer's agent has the shell of a person's")


def told(prompt: Prompt) -> str:
    return repr(prompt)


def test_an_agent_has_the_tools_of_its_folder_and_no_others(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.apply(folder(skills__returns_md=SKILL))
        session = await scene.open()
        assert await scene.say(session, "hello") == ["It was shipped."]
        first, *_, last = scene.model.prompts
        assert first.instructions.startswith("You are the shop.")
        assert "- Returns: When something comes back." in first.instructions
        assert "Sunday 2026-11-22" in first.instructions
        assert [tool.name for tool in first.tools] == ["order_status", "read_skill"]
        results = [said.content for said in last.history if isinstance(said, ToolSaid)]
        assert results[0].startswith("There is no tool 'shell_exec'.")
        assert results[1:] == ["shipped", SKILL.decode()]
        assert scene.machines.done == []

    run(
        address,
        scenario,
        calls(("shell_exec", '{"command": "id"}')),
        calls(("order_status", "{}"), ("read_skill", '{"skill": "Returns"}')),
        words("It was shipped."),
    )


def test_what_is_bound_to_a_session_is_in_no_prompt_and_no_event(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.apply(folder())
        await scene.say(await scene.open(), "who am I?")
        assert "canary" not in "".join(map(told, scene.model.prompts))
        with psycopg.connect(address.conninfo(Role.OWNER)) as connection:
            assert connection.execute("SELECT FROM event WHERE body::text LIKE '%canary%'").fetchall() == []

    run(address, scenario, words("A customer."))


def test_a_session_stays_on_its_version_with_its_text_and_limits(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.apply(folder())
        before = await scene.open()
        await scene.apply({**folder(), "instructions.md": b"You are the other shop."})
        after = await scene.open()
        await scene.say(before, "one")
        await scene.say(after, "two")
        texts = {prompt.instructions.split("\n")[0] for prompt in scene.model.prompts[:4]}
        assert texts == {"You are the shop."}, "the limit of four steps is the version's"
        assert scene.model.prompts[4].instructions.startswith("You are the other shop.")

    asked = iter(range(100))
    run(address, scenario, lambda _: calls(("order_status", f'{{"n": {next(asked)}}}')))


@pytest.mark.parametrize("word", ["link", "undo site", "site history", "K7MQ-4XWP"])
def test_a_customer_says_nothing_to_the_platform(address: DatabaseAddress, word: str) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.apply(folder())
        assert await scene.say(await scene.open(), word) == ["I answered."]

    run(address, scenario, words("I answered."))


def test_a_customers_conversation_without_a_version_has_no_agent_at_all(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.apply(folder())
        session = await scene.open()
        with psycopg.connect(address.conninfo(Role.OWNER)) as connection:
            connection.execute("DELETE FROM session")
            connection.execute("UPDATE conversation SET failures = 4")
        assert await scene.say(session, "hello") == [GIVEN_UP]
        assert scene.model.prompts == []

    run(address, scenario, words("I answered."))


def test_nobody_becomes_a_person_by_a_session_that_there_is_not(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.apply(folder())
        session = await scene.open()
        intake = StoreIntake(scene.database, sends=lambda _: False, public_url="http://localhost")
        sender = Address(channel="api", address=session.session_id + "x")
        with pytest.raises(Stranger):
            await intake.receive(
                InboundMessage(sender=sender, provider_id="1", text="hello", received_at=datetime.now(UTC))
            )
        with psycopg.connect(address.conninfo(Role.OWNER)) as connection, pytest.raises(psycopg.Error):
            connection.execute("INSERT INTO identity VALUES ('web', 'x', %s)", [session.tenant_id])

    run(address, scenario, words("I answered."))


def test_on_demand_a_customers_machine_has_the_tools_that_are_named(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.apply(folder("on_demand"))
        await scene.say(await scene.open(), "one", "two")
        assert [tool.name for tool in scene.model.prompts[0].tools] == ["order_status", "shell_exec"]
        assert scene.machines.done == ["ls", "ls"]

    run(address, scenario, calls(("shell_exec", '{"command": "ls"}')), words("1"), *_again())


def test_an_ephemeral_machine_is_one_turns_and_erased_before_and_after(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.apply(folder("ephemeral"))
        session = await scene.open()
        await scene.say(session, "one", "two")
        assert scene.machines.done == ["erased", "ls", "ls", "erased", "ls"]
        clearing = asyncio.create_task(keep_clearing(scene.database, scene.machines))  # type: ignore[arg-type]
        async with asyncio.timeout(DEADLINE_S):
            while await asyncio.to_thread(machines_kept, address):
                await asyncio.sleep(0.01)
        clearing.cancel()
        await asyncio.gather(clearing, return_exceptions=True)
        assert scene.machines.done[5:] == ["erased"]

    run(
        address,
        scenario,
        calls(("shell_exec", '{"command": "ls"}'), ("shell_exec", '{"command": "ls"}')),
        words("1"),
        *_again(),
    )


def machines_kept(address: DatabaseAddress) -> int:
    with psycopg.connect(address.conninfo(Role.OWNER)) as connection:
        return len(connection.execute("SELECT FROM turn_machine").fetchall())


def _again() -> tuple[ModelReply, ModelReply]:
    return calls(("shell_exec", '{"command": "ls"}')), words("2")


def test_two_conversations_of_a_customer_do_not_share_a_machine_that_is_for_one_turn(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.apply(folder("ephemeral"))
        first, second = await scene.open(), await scene.open()
        with psycopg.connect(address.conninfo(Role.OWNER), autocommit=True) as owner:

            def caller_of(session: CustomerSession, turn: str) -> Caller:
                query = "UPDATE conversation SET turn_open = true WHERE address = %s RETURNING id"
                row = owner.execute(query, [session.session_id]).fetchone()
                assert row is not None
                return Caller(tenant_id=session.tenant_id, conversation_id=row[0], call_id="c", turn_id=turn)

            one, two = caller_of(first, "turn_1"), caller_of(second, "turn_2")
            assert await take_turn_machine(scene.database, one) is Taken.ERASE
            assert await take_turn_machine(scene.database, one) is Taken.ERASE, "whoever had it died before it was"
            await have_turn_machine(scene.database, one)
            assert await take_turn_machine(scene.database, one) is Taken.FRESH
            assert await take_turn_machine(scene.database, two) is Taken.BUSY
            owner.execute("UPDATE conversation SET turn_open = false WHERE id = %s", [one.conversation_id])
            assert await claim_turn_machines(scene.database, limit=5) == (first.tenant_id,)
            assert await take_turn_machine(scene.database, two) is Taken.WAIT
            await forget_turn_machine(scene.database, first.tenant_id)
            assert await take_turn_machine(scene.database, two) is Taken.ERASE
            assert await claim_turn_machines(scene.database, limit=5) == ()

    run(address, scenario, words("I answered."))


def test_all_customers_of_an_agent_have_a_budget_together(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.apply(folder())
        await set_budget(scene.operator, budget("other", hard=0))
        assert await scene.say(await scene.open("anna"), "one") == ["I answered."]
        await set_budget(scene.operator, budget("shop", hard=0))
        (reply,) = await scene.say(await scene.open("ben"), "two")
        assert reply != "I answered."
        assert len(scene.model.prompts) == 1

    def budget(agent: str, *, hard: int) -> Budget:
        return Budget(level=Level.AGENT, subject=agent, kind=Kind.TOKENS, period=Period.DAY, soft=None, hard=hard)

    run(address, scenario, words("I answered."))
