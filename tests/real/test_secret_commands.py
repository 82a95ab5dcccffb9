"""`subclaw secrets` against a real PostgreSQL: sealed, listed, rotated, revoked, and mistakes told in words."""

import asyncio
import io
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from nacl.public import SealedBox
from tests.real.test_egress_rules import make_tenants
from tests.real.test_plans import shown
from typer.testing import CliRunner

from subclaw.cli import cli
from subclaw.commands.owners import Owner, parse_owner
from subclaw.commands.policy import add
from subclaw.commands.secrets import PlaceOptions, list_all, read_value, revoke, set_secret, wanted_secret
from subclaw.config import Settings, load_settings
from subclaw.core.errors import Invalid, NotFound
from subclaw.core.policy import Mode, Rule, Scope
from subclaw.core.secret import Binding, BoundSecret, Place, label
from subclaw.core.tenant import TenantId
from subclaw.core.tenant_egress import TenantPolicy
from subclaw.egress.keys import ensure_key, read_private_key
from subclaw.egress.vault import open_seal
from subclaw.home import Home
from subclaw.store.database import DatabaseAddress, Role, open_database
from subclaw.store.tenant_egress import load_policy

VALUE = "ghp_" + "aB3" * 12
EVERYBODY = Owner(scope=Scope.OPERATOR)
HEADER = PlaceOptions()
API = Binding(hosts=("api.test",), ports=())


@pytest.fixture
def settings(address: DatabaseAddress) -> Iterator[Settings]:
    with TemporaryDirectory() as home:
        ensure_key(Home(Path(home)).keys, os.getuid(), os.getgid())
        yield load_settings({"DATABASE_URL": address.url, "SUBCLAW_HOME": home})


def put(
    settings: Settings,
    name: str = "GITHUB_TOKEN",
    *,
    owner: Owner = EVERYBODY,
    value: str = VALUE,
    place: PlaceOptions = HEADER,
) -> str:
    wanted = wanted_secret(name, owner, API, place)
    return shown(lambda console: set_secret(settings, console, wanted, value))


def policy(address: DatabaseAddress, tenant_id: TenantId) -> TenantPolicy:
    async def main() -> TenantPolicy:
        async with open_database(address, Role.EGRESS, size=1) as egress:
            return await load_policy(egress, tenant_id)

    return asyncio.run(main())


def opened(settings: Settings, secret: BoundSecret) -> str:
    """Open a secret as the gateway does."""
    box = SealedBox(read_private_key(Home(settings.home).keys))
    text = label(secret.name, secret.scope, secret.tenant_id, secret.placeholder, secret.binding)
    return open_seal(box, secret.sealed, text).reveal()


def listed(settings: Settings, tenant: str | None = None) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = json.loads(
        shown(lambda console: list_all(settings, console, tenant=tenant, as_json=True))
    )
    return rows


def test_a_secret_is_sealed_for_the_gateway_and_said_to_be_where(address: DatabaseAddress, settings: Settings) -> None:
    (tenant,) = make_tenants(address, 1)
    said = put(settings)
    (secret,) = policy(address, tenant).secrets
    assert opened(settings, secret) == VALUE
    assert secret.binding == Binding(hosts=("api.test",))
    assert said == (
        "GITHUB_TOKEN is set for all tenants. Their machines have this placeholder in $GITHUB_TOKEN:\n"
        f"  {secret.placeholder}\n"
        "The gateway puts the value into the header authorization of requests that hold the placeholder there, "
        "to api.test, port 443.\n"
    )
    assert secret.placeholder.startswith("ghp_subclaw")
    assert VALUE[4:] not in said


def test_a_secret_for_an_agents_tools_is_in_no_machine(address: DatabaseAddress, settings: Settings) -> None:
    (tenant,) = make_tenants(address, 1)
    said = put(settings, "SHOP_KEY", owner=Owner(scope=Scope.OPERATOR, tools="support"))
    assert said.startswith("SHOP_KEY is set for the tools of support. For {{secret:SHOP_KEY}} they send this ")
    assert policy(address, tenant).secrets == ()
    assert listed(settings)[0]["tools"] == "support"


def test_a_value_set_anew_has_the_placeholder_of_the_old_one(address: DatabaseAddress, settings: Settings) -> None:
    (tenant,) = make_tenants(address, 1)
    put(settings)
    (first,) = policy(address, tenant).secrets
    said = put(settings, value="another-value")
    (second,) = policy(address, tenant).secrets
    assert "is set anew" in said
    assert second.placeholder == first.placeholder
    assert opened(settings, second) == "another-value"
    with pytest.raises(Invalid, match="That is the placeholder of GITHUB_TOKEN"):
        put(settings, value=first.placeholder)


def test_secrets_are_listed_and_revoked(address: DatabaseAddress, settings: Settings) -> None:
    make_tenants(address, 2)
    owners = [EVERYBODY, parse_owner(None, True), parse_owner("tenant-1", False), parse_owner("tenant-2", False)]
    for owner in owners:
        put(settings, owner=owner)
    rows = listed(settings)
    assert [(row["scope"], row["tenant"]) for row in rows] == [
        ("operator", ""),
        ("agent", ""),
        ("tenant", "tenant-1"),
        ("tenant", "tenant-2"),
    ]
    assert rows[0] | {"set": "", "placeholder": rows[0]["placeholder"][:11]} == {
        "name": "GITHUB_TOKEN",
        "scope": "operator",
        "tenant": "",
        "tools": "",
        "hosts": "api.test",
        "place": "the header authorization",
        "placeholder": "ghp_subclaw",
        "set": "",
        "used": "",
    }
    assert len(rows[0]["placeholder"]) == 21
    assert [row["tenant"] for row in listed(settings, "tenant-2")] == ["", "", "tenant-2"]
    said = shown(lambda console: revoke(settings, console, "GITHUB_TOKEN", owners[2]))
    assert "revoked for the tenant tenant-1" in said
    with pytest.raises(NotFound):
        shown(lambda console: revoke(settings, console, "GITHUB_TOKEN", owners[2]))
    assert len(listed(settings)) == 3
    table = shown(lambda console: list_all(settings, console, tenant=None, as_json=False))
    assert [line.split()[0] for line in table.splitlines()] == ["name", *3 * ["GITHUB_TOKEN"]]


def deny(settings: Settings, rule: Rule) -> None:
    shown(lambda console: add(settings, console, replace(rule, mode=Mode.DENY), EVERYBODY))


def test_a_rule_that_denies_the_host_is_told(settings: Settings) -> None:
    deny(settings, Rule(host="api.test", methods=("DELETE",)))
    deny(settings, Rule(host="api.test", ports=(8443,)))
    deny(settings, Rule(host="x.api.test"))
    deny(settings, Rule(host="*.api.test"))
    assert [line for line in put(settings).splitlines() if "denies" in line] == [
        "Rule 1 denies some requests to api.test, whatever is allowed: subclaw policy remove 1"
    ]
    deny(settings, Rule(host="api.test"))
    assert "Rule 5 denies api.test, whatever is allowed" in put(settings, owner=parse_owner(None, True))


@pytest.mark.parametrize(
    ("place", "binding"),
    [
        (PlaceOptions(header="X-Key"), {"name": "x-key"}),
        (PlaceOptions(header="Authorization: Bearer {}"), {"name": "authorization", "template": "Bearer {}"}),
        (PlaceOptions(basic="me"), {"place": Place.BASIC, "name": "me"}),
        (PlaceOptions(basic=""), {"place": Place.BASIC, "name": ""}),
        (PlaceOptions(basic="me:{}"), {"place": Place.BASIC, "name": "me", "template": "{}"}),
        (PlaceOptions(query="Key"), {"place": Place.QUERY, "name": "key"}),
        (PlaceOptions(path=True), {"place": Place.PATH, "name": ""}),
    ],
)
def test_where_a_secret_goes(place: PlaceOptions, binding: dict[str, object]) -> None:
    found = wanted_secret("KEY", EVERYBODY, API, place).binding
    shown_fields = {"place": found.place, "name": found.name, "template": found.template}
    assert shown_fields == {"place": Place.HEADER, "name": "authorization", "template": ""} | binding


@pytest.mark.parametrize(
    ("name", "place", "value", "words"),
    [
        ("github", HEADER, VALUE, "capitals, digits and underscores"),
        ("LD_PRELOAD", HEADER, VALUE, "Programs go by the environment variable LD_PRELOAD"),
        ("KEY", PlaceOptions(header="X-Key", path=True), VALUE, "Say one of --header, --basic, --query and --path"),
        ("KEY", PlaceOptions(header="x y"), VALUE, "no header that a secret can go into"),
        ("KEY", HEADER, "", "A secret that is empty is none"),
        ("KEY", HEADER, "a\nb", "in one line"),
        ("KEY", HEADER, "a" * 8_193, "between 1 and 8,192 characters"),
    ],
)
def test_mistakes_are_told_in_words(settings: Settings, name: str, place: PlaceOptions, value: str, words: str) -> None:
    with pytest.raises(Invalid) as caught:
        put(settings, name, value=value, place=place)
    assert words in caught.value.public
    assert listed(settings) == []


def test_nobody_has_a_secret_who_is_not_there(settings: Settings) -> None:
    with pytest.raises(NotFound, match="no tenant nobody"):
        put(settings, owner=parse_owner("nobody", False))
    with pytest.raises(Invalid, match="one of --tenant, --agent and --tools"):
        parse_owner("nobody", True)


@pytest.mark.parametrize("given", [b"hunter2", b"hunter2\n", b"hunter2\r\n"])
def test_a_value_comes_from_standard_input(given: bytes) -> None:
    assert read_value("KEY", stdin=io.BytesIO(given)) == "hunter2"


def test_one_line_break_is_dropped_and_no_more() -> None:
    assert read_value("KEY", stdin=io.BytesIO(b"hunter2\n\n")) == "hunter2\n"
    assert len(read_value("KEY", stdin=io.BytesIO(b"x" * 100_000))) < 40_000
    with pytest.raises(Invalid, match="UTF-8"):
        read_value("KEY", stdin=io.BytesIO(b"\xff"))


def test_at_a_terminal_a_value_is_asked_for() -> None:
    class Terminal(io.BytesIO):
        def isatty(self) -> bool:
            return True

    assert read_value("KEY", ask=lambda prompt: f"typed after {prompt}", stdin=Terminal()) == "typed after KEY: "


def test_the_command_line(address: DatabaseAddress, settings: Settings) -> None:
    (tenant,) = make_tenants(address, 1)
    arguments = "secrets set KEY --hosts api.test,*.up.test --methods get --paths /v1/* --plain-http --tenant tenant-1"
    environment = {"DATABASE_URL": address.url, "SUBCLAW_HOME": str(settings.home)}
    result = CliRunner().invoke(
        cli, [*arguments.split(), "--header", "X-Key: key={}"], input=f"{VALUE}\n", env=environment
    )
    assert result.exit_code == 0, result.output
    (secret,) = policy(address, tenant).secrets
    assert opened(settings, secret) == VALUE
    assert secret.binding == Binding(
        hosts=("api.test", "*.up.test"),
        ports=(443, 80),
        methods=("GET",),
        paths=("/v1/*",),
        name="x-key",
        template="key={}",
        plain=True,
    )
    assert (
        "The gateway puts the value into the header x-key as 'key={}' of every request to api.test and *.up.test "
        "(GET and /v1/* alone), port 443 and 80, with TLS or without."
    ) in result.output
