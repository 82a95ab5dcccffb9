"""`subclaw invites` and `subclaw tenants messages` against a real PostgreSQL."""

import asyncio
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.real.test_egress_rules import make_tenants
from tests.real.test_onboarding import Scene
from typer.testing import CliRunner

from subclaw.cli import cli
from subclaw.core.errors import Invalid, NotFound
from subclaw.core.onboarding import Entry, OnboardingSettings
from subclaw.store.database import DatabaseAddress, Role, open_database


@pytest.fixture
def environ(address: DatabaseAddress) -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own have names that are too long for a state folder
        assert Path(folder).is_dir()
        yield {"DATABASE_URL": address.url, "SUBCLAW_HOME": folder}


def typed(environ: dict[str, str], *arguments: str) -> str:
    result = CliRunner().invoke(cli, arguments, env=environ)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_a_code_is_printed_once_lets_somebody_in_and_is_revoked(
    address: DatabaseAddress, environ: dict[str, str]
) -> None:
    assert "subclaw invites make" in typed(environ, "invites", "list")
    made = json.loads(typed(environ, "invites", "make", "--uses", "2", "--count", "2", "--note", "tea", "--json"))
    assert [row["number"] for row in made] == [1, 2]

    async def come_in(code: str, sender: str) -> None:
        async with open_database(address, Role.APP) as database:
            settings = OnboardingSettings(entry=Entry.INVITE)
            await Scene(address=address, database=database, settings=settings).say(f"make tea {code}", sender)

    asyncio.run(come_in(made[0]["code"], "+1"))
    listed = typed(environ, "invites", "list")
    assert made[0]["code"] not in listed
    assert "1 of 2" in listed
    assert "1 any more" in typed(environ, "invites", "revoke", "1")
    with pytest.raises(Invalid):
        asyncio.run(come_in(made[0]["code"], "+2"))
    with pytest.raises(NotFound):
        typed(environ, "invites", "revoke", "1")
    states = [row["state"] for row in json.loads(typed(environ, "invites", "list", "--json"))]
    assert states == ["open", "revoked"]


def test_a_tenant_is_given_more_messages(address: DatabaseAddress, environ: dict[str, str]) -> None:
    make_tenants(address, 1)
    assert "agent.toml" in typed(environ, "tenants", "messages", "tenant-1")
    assert typed(environ, "tenants", "messages", "tenant-1", "500") == "tenant-1 has 500 messages in all.\n"
    assert typed(environ, "tenants", "messages", "tenant-1") == "tenant-1: 500 messages in all\n"
    typed(environ, "tenants", "messages", "tenant-1", "--unlimited")
    assert typed(environ, "tenants", "messages", "tenant-1") == "tenant-1: as many messages as they like\n"
    typed(environ, "tenants", "messages", "tenant-1", "--default")
    with pytest.raises(Invalid):
        typed(environ, "tenants", "messages", "tenant-1", "5", "--default")
