"""`subclaw tenants model` against a real PostgreSQL: a tenant is moved to another model in one line, and back."""

import asyncio
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from rich.console import Console
from tests.real.test_egress_rules import make_tenants
from tests.real.test_schedules import receive
from typer.testing import CliRunner

from subclaw.cli import cli
from subclaw.commands.tenants import tenant_model
from subclaw.config import load_settings
from subclaw.core.errors import Invalid, NotFound
from subclaw.store import conversations
from subclaw.store.database import DatabaseAddress, Role, open_database
from subclaw.store.tenant_settings import latest_conversation


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own have names that are too long for a state folder
        yield Path(folder)


@pytest.fixture
def environ(address: DatabaseAddress, home: Path) -> dict[str, str]:
    return {"DATABASE_URL": address.url, "SUBCLAW_HOME": str(home), "OPENAI_API_KEY": "a key"}


def typed(environ: dict[str, str], *arguments: str) -> str:
    result = CliRunner().invoke(cli, ["tenants", *arguments], env=environ)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def model_of(address: DatabaseAddress, name: str) -> str | None:
    with psycopg.connect(address.conninfo(Role.OWNER)) as connection:
        ((model,),) = connection.execute("SELECT model FROM tenant WHERE name = %s", [name]).fetchall()
    return model if model is None else str(model)


def test_a_tenant_is_moved_to_another_model_and_back(address: DatabaseAddress, environ: dict[str, str]) -> None:
    make_tenants(address, 2)
    assert typed(environ, "model", "tenant-1") == "tenant-1: the default model\n"
    said = typed(environ, "model", "tenant-1", "openai:gpt-6-luna")
    assert said == "openai:gpt-6-luna answers for tenant-1 from the next message on.\n"
    assert typed(environ, "model", "tenant-1") == "tenant-1: openai:gpt-6-luna\n"
    assert (model_of(address, "tenant-1"), model_of(address, "tenant-2")) == ("openai:gpt-6-luna", None)
    said = typed(environ, "model", "tenant-1", "--default")
    assert said == "The default model answers for tenant-1 from the next message on.\n"
    assert model_of(address, "tenant-1") is None


def test_a_turn_is_told_of_its_tenants_model(address: DatabaseAddress, environ: dict[str, str]) -> None:
    async def main() -> None:
        async with open_database(address, Role.APP) as database, open_database(address, Role.OPERATOR) as operator:
            caller = await receive(database)
            assert await latest_conversation(operator, caller.tenant_id) == caller.conversation_id
            settings, console = load_settings(environ), Console(file=io.StringIO())
            await tenant_model(settings, console, "name-web-a", model="openai:mine", is_default=False)
            (lease,) = await conversations.claim(database, 1, 1)
            opened = await conversations.open_turn(database, lease)
            assert opened.conversation.model == "openai:mine"

    asyncio.run(main())


def test_models_that_cannot_be_asked_are_told_in_words(address: DatabaseAddress, environ: dict[str, str]) -> None:
    make_tenants(address, 1)
    with pytest.raises(Invalid, match="google:x cannot be asked: subclaw can ask openai"):
        typed(environ, "model", "tenant-1", "google:x")
    with pytest.raises(Invalid, match="it must be provider:model"):
        typed(environ, "model", "tenant-1", "nobody:x")
    with pytest.raises(Invalid, match="not both"):
        typed(environ, "model", "tenant-1", "openai:x", "--default")
    with pytest.raises(NotFound, match="no tenant nobody"):
        typed(environ, "model", "nobody", "openai:x")
    assert model_of(address, "tenant-1") is None


def test_what_a_box_noted_at_its_start_counts_before_the_commands_own_environment(
    address: DatabaseAddress, environ: dict[str, str], home: Path
) -> None:
    make_tenants(address, 1)
    (home / "providers").write_text("anthropic google")
    assert "google:x answers" in typed(environ, "model", "tenant-1", "google:x")
    with pytest.raises(Invalid, match="subclaw can ask anthropic, google"):
        typed(environ, "model", "tenant-1", "openai:x")


def test_without_a_command_tenants_are_listed(address: DatabaseAddress, environ: dict[str, str]) -> None:
    make_tenants(address, 2)
    assert [line.split()[1] for line in typed(environ, "--limit", "5").splitlines()[1:]] == ["tenant-2", "tenant-1"]
