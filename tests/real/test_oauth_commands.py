"""`subclaw oauth` against a real PostgreSQL: set, listed and removed; the key at the provider is sealed."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from nacl.public import SealedBox
from tests.budgets import owner_rows
from typer.testing import CliRunner, Result

from subclaw.cli import cli
from subclaw.core.errors import Invalid, NotFound
from subclaw.core.oauth import client_label
from subclaw.egress.keys import ensure_key, read_private_key
from subclaw.egress.vault import open_seal
from subclaw.home import Home
from subclaw.store.database import DatabaseAddress

KEY = "GOCSPX-key-at-the-provider-0123456789"


@pytest.fixture
def home(address: DatabaseAddress, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        ensure_key(Home(Path(folder)).keys, os.getuid(), os.getgid())
        monkeypatch.setenv("DATABASE_URL", address.url)
        monkeypatch.setenv("SUBCLAW_HOME", folder)
        yield Path(folder)


def subclaw(*arguments: str, typed: str = "") -> Result:
    return CliRunner().invoke(cli, ["oauth", *arguments], input=typed)


def test_a_provider_is_set_listed_and_removed(address: DatabaseAddress, home: Path) -> None:
    options = ["--preset", "google", "--client-id", "c", "--scopes", "openid email"]
    done = subclaw("add", "google", *options, typed=KEY + "\n")
    assert done.exit_code == 0, done.output
    assert "$GOOGLE_ACCESS_TOKEN" in done.output
    assert "http(s)://TENANT.localhost/_/oauth/callback" in done.output
    assert KEY not in done.output
    ((sealed,),) = owner_rows(address, "SELECT sealed FROM oauth_provider")
    box = SealedBox(read_private_key(Home(home).keys))
    assert open_seal(box, bytes(sealed), client_label("google")).reveal() == KEY  # type: ignore[call-overload]
    (row,) = json.loads(subclaw("list", "--json").output)
    assert (row["name"], row["scopes"], row["accounts"], row["lost"]) == ("google", "openid email", 0, 0)
    again = subclaw("add", "google", "--preset", "google", "--client-id", "other")
    assert again.exit_code == 0
    assert owner_rows(address, "SELECT sealed FROM oauth_provider") == [(sealed,)], "the key stays as it is"
    assert "google is removed, and 0 accounts" in subclaw("remove", "google").output
    assert isinstance(subclaw("remove", "google").exception, NotFound)
    assert "There are no providers." in subclaw("list").output


def test_mistakes_are_told_before_a_key_is_asked_for(address: DatabaseAddress, home: Path) -> None:
    for arguments in (["--preset", "gogle"], ["--token-url", "http://a.test/"], ["--preset", "google", "--hosts", "*"]):
        done = subclaw("add", "acme", "--client-id", "c", *arguments, typed=KEY)
        assert isinstance(done.exception, Invalid)
    assert owner_rows(address, "SELECT 1 FROM oauth_provider") == []
