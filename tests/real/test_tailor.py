"""What turns become by a tenant's house and model, with a real mirror; machines are of no account."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import cast

import psycopg

from subclaw.core.agent import AgentSettings
from subclaw.core.budget import FREE
from subclaw.core.channel import Address
from subclaw.core.errors import Unavailable
from subclaw.core.house import SYSTEM, TOOLS, fingerprint
from subclaw.core.machine import Machines
from subclaw.core.model import Model
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller, ToolCall
from subclaw.core.turn import Conversation, Lease
from subclaw.models.by_name import OpenedModel
from subclaw.store.database import DatabaseAddress, Role, open_database
from subclaw.store.house import StoreMirror
from subclaw.testing.models import ScriptedModel
from subclaw.tools.harness import describe_reloaded
from subclaw.tools.toolbox import BuiltInToolbox, Tool, define
from subclaw.turns.run import Turns
from subclaw.turns.tailor import Tailor

ANN = TenantId(1)
CALLER = Caller(tenant_id=ANN, conversation_id=1, call_id="call_1", turn_id="turn_1")
CONVERSATION = Conversation(
    lease=Lease(tenant_id=ANN, conversation_id=1, epoch=1),
    tenant_name="ann",
    reply_to=Address(channel="web", address="a"),
)
DEFAULTS = {SYSTEM: b"You are {name}."}
GREET = b'[{"name": "greet", "description": "Greet.", "command": "echo hello"}]'


@dataclass(kw_only=True)
class NoMachines:
    """Machines of which none is awake, or which cannot be asked."""

    asked: int = 0
    away: bool = False

    async def sync_house(self, tenant_id: TenantId) -> bool:
        """Count that it was asked."""
        self.asked += 1
        if self.away:
            raise Unavailable("The host is away.")
        return False


@dataclass(kw_only=True)
class Scene:
    """A tailor, the turns that it is given, and the mirror."""

    tailor: Tailor
    turns: Turns
    mirror: StoreMirror
    machines: NoMachines
    opened: list[str] = field(default_factory=list)

    async def dressed(self, **known: object) -> Turns:
        """Return what the turns become."""
        conversation = replace(CONVERSATION, house_revision=99, **known)  # type: ignore[arg-type]
        return await self.tailor(self.turns, conversation)


async def no_placeholders(tenant_id: TenantId) -> Mapping[str, str]:
    return {}


async def done(caller: Caller, arguments: Mapping[str, object]) -> str:
    return "done"


def run(address: DatabaseAddress, scenario: Callable[[Scene], Awaitable[None]], *, approve: bool = False) -> None:
    """Run a scenario for the tenant Ann."""

    async def main() -> None:
        async with open_database(address, Role.HOST, size=2) as host, open_database(address, Role.APP, size=2) as app:
            machines, opened = NoMachines(), list[str]()
            model = cast(Model, ScriptedModel([]))

            def model_of(name: str) -> OpenedModel:
                opened.append(name)
                return OpenedModel(model=model, cheaper=None, tariff=FREE, window_tokens=1_000 if name else 2_000)

            toolbox = BuiltInToolbox([Tool(definition=define("shell_exec", "Run.", idempotent=False), perform=done)])
            tailor = Tailor(
                database=app,
                machines=cast(Machines, machines),
                placeholders=no_placeholders,
                toolbox=toolbox,
                defaults=DEFAULTS,
                model_of=model_of,
                url_of=lambda name: f"http://{name}.localhost",
                clock=lambda: datetime(2026, 11, 22, tzinfo=UTC),
                approve_commands=approve,
            )
            turns = Turns(
                database=app,
                model=model,
                toolbox=toolbox,
                instructions=lambda _: "",
                agent=AgentSettings(),
                sends=lambda _: False,
            )
            await scenario(
                Scene(tailor=tailor, turns=turns, mirror=StoreMirror(host), machines=machines, opened=opened)
            )

    with psycopg.connect(address.url) as connection:
        connection.execute("INSERT INTO tenant (id, name) VALUES (1, 'ann') ON CONFLICT DO NOTHING")
    asyncio.run(main())


def names(turns: Turns) -> list[str]:
    """Return the names of the tools."""
    return [tool.name for tool in turns.toolbox.definitions()]


def test_nobody_is_asked_about_a_house_that_is_as_it_comes(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        turns = await scene.tailor(scene.turns, CONVERSATION)
        assert turns.instructions(CONVERSATION).startswith("You are ann.")
        assert (scene.machines.asked, names(turns)) == (0, ["shell_exec"])

    run(address, scenario)


def test_a_house_is_read_at_each_revision_and_a_machine_asked_only_if_it_is_awake(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.mirror.write(ANN, TOOLS, GREET)
        assert names(await scene.dressed()) == ["shell_exec", "greet"]
        assert scene.machines.asked == 0
        await scene.mirror.write(ANN, TOOLS, b"[]")
        assert names(await scene.dressed(is_awake=True)) == ["shell_exec"]
        assert scene.machines.asked == 1

    run(address, scenario)


def test_what_is_broken_is_what_it_was_also_for_a_worker_that_never_saw_it_whole(address: DatabaseAddress) -> None:
    async def before(scene: Scene) -> None:
        await scene.mirror.write(ANN, TOOLS, GREET)
        await scene.dressed()

    async def after(scene: Scene) -> None:
        await scene.mirror.write(ANN, TOOLS, b"[{")
        turns = await scene.dressed()
        assert names(turns) == ["shell_exec", "greet"]
        assert "tools.json: it is not JSON" in turns.instructions(CONVERSATION)

    run(address, before)
    run(address, after)


def test_a_host_that_is_away_keeps_no_turn_from_beginning(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.mirror.write(ANN, TOOLS, GREET)
        scene.machines.away = True
        assert names(await scene.dressed(is_awake=True)) == ["shell_exec", "greet"]

    run(address, scenario)


def test_a_tenants_tool_is_approved_where_commands_are(address: DatabaseAddress) -> None:
    call = ToolCall(id="call_1", name="greet", arguments="{}")

    async def free(scene: Scene) -> None:
        await scene.mirror.write(ANN, TOOLS, GREET)
        assert not (await scene.dressed()).toolbox.must_be_approved(call)

    async def bound(scene: Scene) -> None:
        assert (await scene.dressed()).toolbox.must_be_approved(call)

    run(address, free)
    run(address, bound, approve=True)


def test_a_newer_default_is_shown_beside_the_tenants_own_once(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.mirror.keep(ANN, [], laid={SYSTEM: fingerprint(b"You were.")}, settled={})
        await scene.mirror.write(ANN, SYSTEM, b"You are a pirate.")
        told = (await scene.dressed()).instructions(CONVERSATION)
        assert "There is a newer default of system.md" in told
        words = describe_reloaded(await scene.tailor.reload(CALLER))
        assert "-You are a pirate." in words
        assert "+You are {name}." in words
        assert describe_reloaded(await scene.tailor.reload(CALLER)).startswith("Nothing has changed.")
        assert "newer default" not in (await scene.dressed()).instructions(CONVERSATION)

    run(address, scenario)


def test_a_tenant_has_a_model_of_its_own(address: DatabaseAddress) -> None:
    async def scenario(scene: Scene) -> None:
        assert (await scene.dressed()).window_tokens == 2_000
        assert (await scene.dressed(model="openai:other")).window_tokens == 1_000
        assert scene.opened == ["", "openai:other"]

    run(address, scenario)
