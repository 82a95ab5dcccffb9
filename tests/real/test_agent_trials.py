"""`subclaw agents eval` and `replay` with a real database, the real gateway, and a provider on loopback."""

import asyncio
import io
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from rich.console import Console
from tests.real.model_scene import KEY

from subclaw.business.package import read_package
from subclaw.commands.agent_trials import Against, Asked, eval_agent, replay
from subclaw.config import KEY_VARIABLES, Settings, load_settings
from subclaw.core.errors import Invalid, NotFound, Unavailable
from subclaw.core.event import MessageReceived, ModelReplied, ReplyQueued, TurnFinished, TurnOutcome, TurnStarted
from subclaw.core.model import Usage
from subclaw.home import Home, held
from subclaw.store.agents import apply
from subclaw.store.customers import open_session
from subclaw.store.database import DatabaseAddress, Role, open_database
from subclaw.store.events import encode
from subclaw.testing.egress import running_gateway
from subclaw.testing.openai import FakeOpenAi, Words
from subclaw.testing.serving import serving

EVALS = b"""
[[case]]
name = "says hello"
say = ["hello"]
check = [{contains = "welcome"}, {not_called = "refund"}]

[[case]]
name = "is judged"
say = ["bye"]
check = [{judge = "It was kind."}]
"""
FOLDER = {
    "agent.toml": b'id = "shop"\n',
    "instructions.md": b"You are the shop.",
    "evals/a.toml": EVALS,
}
USAGE = Usage(model="m", input_tokens=100, output_tokens=10)
RECORDED = (
    TurnStarted(),
    MessageReceived(text="hello", provider_id="1"),
    ModelReplied(text="Good day.", calls=(), usage=USAGE),
    ReplyQueued(text="Good day."),
    TurnFinished(outcome=TurnOutcome.ANSWERED),
)


@asynccontextmanager
async def running_box(address: DatabaseAddress, fake: FakeOpenAi) -> AsyncIterator[Settings]:
    """Run as much of a box as trials need: its lock, its gateway, and a provider."""
    with tempfile.TemporaryDirectory(prefix="subclaw-t-") as folder:
        home, keys = Home(Path(folder) / "home"), Path(folder) / "keys"
        home.egress_socket.parent.mkdir(parents=True)
        keys.mkdir()
        home.port_file.write_text("1")
        home.providers_file.write_text("openai")
        async with serving(fake.app()) as port:
            variables = {
                "DATABASE_URL": address.url,
                "OPENAI_API_KEY": KEY,
                "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1",
                "SUBCLAW_MODEL": "openai:some-model",
            }
            settings = replace(load_settings(variables), home=home.path)
            with held(home):
                async with running_gateway(keys, settings.upstreams, {KEY_VARIABLES["OPENAI_API_KEY"]: KEY}) as socket:
                    home.egress_socket.symlink_to(socket)
                    yield settings


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with an agent in `agents/shop`."""
    monkeypatch.chdir(tmp_path)
    for path, content in FOLDER.items():
        file = tmp_path / "agents" / "shop" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def run(address: DatabaseAddress, fake: FakeOpenAi, scenario: Callable[[Settings, Console], Awaitable[Any]]) -> Any:
    """Run a command that prints JSON; return that."""
    output = io.StringIO()

    async def main() -> None:
        async with running_box(address, fake) as settings:
            await scenario(settings, Console(file=output, width=200))

    asyncio.run(main())
    return json.loads(output.getvalue() or "null")


async def recorded(address: DatabaseAddress) -> tuple[str, int]:
    """Record a conversation with version 1; return the session's id and the conversation's number."""
    async with open_database(address, Role.OPERATOR, size=1) as operator:
        await apply(operator, read_package(FOLDER))
    async with open_database(address, Role.APP, size=1) as database:
        session = await open_session(database, "shop", "anna", {})
    with psycopg.connect(address.conninfo(Role.OWNER)) as owner:
        query = "SELECT id FROM conversation WHERE address = %s"
        ((conversation,),) = owner.execute(query, [session.session_id]).fetchall()
        owner.execute(
            "INSERT INTO event (conversation_id, seq, tenant_id, type, body)"
            " SELECT %s, e.n, %s, e.value ->> 'type', e.value -> 'body'"
            " FROM jsonb_array_elements(%s::jsonb) WITH ORDINALITY AS e (value, n)",
            [conversation, session.tenant_id, encode(RECORDED)],
        )
    return session.session_id, conversation


def test_evals_are_played_by_the_models_that_are_asked_for(address: DatabaseAddress) -> None:
    fake = FakeOpenAi(otherwise=[Words(text="YES, very.")])
    fake.play("hello", Words(text="Welcome!"))
    fake.play("bye", Words(text="Farewell."))
    met = list[bool]()

    async def scenario(settings: Settings, console: Console) -> None:
        asked = Asked(model="openai:agent-model", judge="openai:judging-model", case=None)
        met.append(await eval_agent(settings, console, "shop", asked, as_json=True))

    rows = run(address, fake, scenario)
    assert [(row["case"], row["met"]) for row in rows] == [
        ("says hello", True),
        ("says hello", True),
        ("is judged", True),
    ]
    assert met == [True]
    models = [json.loads(body)["model"] for body in fake.bodies]
    assert sorted(models) == ["agent-model", "agent-model", "judging-model"]
    assert fake.keys == {f"Bearer {KEY}"}, "the gateway's key, which the command never has"


def test_an_eval_that_fails_is_told(address: DatabaseAddress) -> None:
    met = list[bool]()

    async def scenario(settings: Settings, console: Console) -> None:
        asked = Asked(model="", judge="", case="says hello")
        met.append(await eval_agent(settings, console, "shop", asked, as_json=True))

    rows = run(address, FakeOpenAi(otherwise=[Words(text="What?")]), scenario)
    assert [(row["check"], row["met"]) for row in rows] == [("contains welcome", False), ("not_called refund", True)]
    assert met == [False]


def test_a_conversation_is_replayed_by_its_number_or_its_sessions_id(address: DatabaseAddress) -> None:
    fake = FakeOpenAi(otherwise=[Words(text="Welcome!")])
    for which in (0, 1):

        async def scenario(settings: Settings, console: Console, which: int = which) -> None:
            name = str((await recorded(address))[which])
            await replay(settings, console, name, Against(folder="shop", version=None, model=""), as_json=True)

        (row,) = run(address, fake, scenario)
        assert (row["turn"], row["said"], row["changed"]) == (1, "hello", "reply")
        assert (row["before"], row["after"]) == ("Good day.", "Welcome!")


def test_a_replay_that_says_the_same_has_changed_nothing(address: DatabaseAddress) -> None:
    async def scenario(settings: Settings, console: Console) -> None:
        session, _ = await recorded(address)
        await replay(settings, console, session, Against(folder=None, version=1, model="openai:x"), as_json=True)

    (row,) = run(address, FakeOpenAi(otherwise=[Words(text="Good day.")]), scenario)
    assert row["changed"] == ""


def test_what_cannot_be_tried_is_said(address: DatabaseAddress) -> None:
    async def scenario(settings: Settings, console: Console) -> None:
        for name in ("999", "ses_x", "ses_" + "x" * 32):
            with pytest.raises(NotFound):
                await replay(settings, console, name, Against(folder=None, version=None, model=""), as_json=True)
        with pytest.raises(Invalid, match="not both"):
            await replay(settings, console, "1", Against(folder="shop", version=1, model=""), as_json=True)
        with pytest.raises(NotFound, match="no such case"):
            await eval_agent(settings, console, "shop", Asked(model="", judge="", case="none"), as_json=True)
        with pytest.raises(Invalid, match="google:x cannot be asked"):
            await eval_agent(settings, console, "shop", Asked(model="google:x", judge="", case=None), as_json=True)
        elsewhere = replace(settings, home=settings.home / "none")
        with pytest.raises(Unavailable, match="does not run"):
            await eval_agent(elsewhere, console, "shop", Asked(model="", judge="", case=None), as_json=True)

    run(address, FakeOpenAi(), scenario)
