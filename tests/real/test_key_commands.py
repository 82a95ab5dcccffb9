"""`subclaw keys` against a real PostgreSQL."""

import asyncio
import json
import tempfile
from collections.abc import Iterator

import pytest
from tests.real.test_invite_commands import typed

from subclaw.core.api_key import Scope
from subclaw.core.errors import Invalid, NotFound
from subclaw.store.api_keys import Used, use_key
from subclaw.store.database import DatabaseAddress, Role, open_database


@pytest.fixture
def environ(address: DatabaseAddress) -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        yield {"DATABASE_URL": address.url, "SUBCLAW_HOME": folder}


def used(address: DatabaseAddress, key: str) -> Used | None:
    async def use() -> Used | None:
        async with open_database(address, Role.APP) as database:
            return await use_key(database, key)

    return asyncio.run(use())


def test_a_key_is_printed_once_used_rotated_and_revoked(address: DatabaseAddress, environ: dict[str, str]) -> None:
    assert "subclaw keys make" in typed(environ, "keys", "list")
    scopes = ("--scope", "sessions:write", "--scope", "agents:read", "--agent", "support", "--days", "30")
    (made,) = json.loads(typed(environ, "keys", "make", "the shop", *scopes, "--json"))
    found = used(address, made["key"])
    assert found is not None
    assert found.principal.scopes == {Scope.SESSIONS_WRITE, Scope.AGENTS_READ}
    assert found.principal.agents == {"support"}
    (listed,) = json.loads(typed(environ, "keys", "list", "--json"))
    assert (listed["begins"], listed["state"]) == (made["key"][:10], "good")
    assert listed["last_used"]
    assert made["key"] not in typed(environ, "keys", "list")
    (renewed,) = json.loads(typed(environ, "keys", "rotate", "1", "--overlap-hours", "0", "--json"))
    assert used(address, made["key"]) is None
    again = used(address, renewed["key"])
    assert again is not None
    assert again.principal.agents == {"support"}
    typed(environ, "keys", "revoke", "2")
    assert used(address, renewed["key"]) is None
    with pytest.raises(NotFound):
        typed(environ, "keys", "revoke", "2")


def test_a_scope_that_there_is_not_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(Invalid, match="agents:read"):
        typed(environ, "keys", "make", "x", "--scope", "all")
