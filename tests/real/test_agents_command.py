"""`subclaw agents` with a real PostgreSQL: folders planned, applied, tried on a share, and taken back."""

import asyncio
import io
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from subclaw.commands.agents import (
    apply_agent,
    list_agent_sessions,
    list_agent_versions,
    list_agents,
    make_example,
    plan_agent,
    promote_agent,
    roll_agent_back,
)
from subclaw.config import Settings, load_settings
from subclaw.core.errors import Conflict, Invalid, NotFound
from subclaw.store.agents import version_files
from subclaw.store.customers import open_session
from subclaw.store.database import DatabaseAddress, Role, open_database


@pytest.fixture
def settings(address: DatabaseAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a box, in a folder with the example's agent `shop`."""
    monkeypatch.chdir(tmp_path)
    make_example(Console(file=io.StringIO()), "shop")
    return replace(load_settings({"DATABASE_URL": address.url}), home=tmp_path / "home")


def shown(command: Callable[[Console], Awaitable[None]]) -> str:
    output = io.StringIO()
    asyncio.run(_awaited(command, Console(file=output, width=200)))
    return output.getvalue()


async def _awaited(command: Callable[[Console], Awaitable[None]], console: Console) -> None:
    await command(console)


def plan(settings: Settings) -> str:
    return shown(lambda console: plan_agent(settings, console, "shop", as_json=False))


def apply(settings: Settings, canary: str | None = None) -> str:
    return shown(lambda console: apply_agent(settings, console, "shop", canary=canary))


def roll_back(settings: Settings, to: int | None = None) -> str:
    return shown(lambda console: roll_agent_back(settings, console, "shop", to=to))


def states(settings: Settings) -> dict[int, str]:
    text = shown(lambda console: list_agent_versions(settings, console, "shop", limit=10, as_json=True))
    rows: list[dict[str, Any]] = json.loads(text)
    return {row["version"]: row["state"] for row in rows}


def instruct(text: str) -> None:
    Path("agents/shop/instructions.md").write_text(text)


def version_of(address: DatabaseAddress, customer: str) -> int:
    async def main() -> int:
        async with open_database(address, Role.APP, size=1) as database:
            return (await open_session(database, "shop", customer, {})).version

    return asyncio.run(main())


def test_the_example_is_planned_and_applied_and_then_nothing_would_change(settings: Settings) -> None:
    text = plan(settings)
    assert "+You answer customers of a small shop" in text
    assert "5 files of shop would change against a new agent" in text
    assert "Version 1 of shop is applied" in apply(settings)
    assert "nothing would change" in plan(settings)
    assert states(settings) == {1: "live"}
    assert "Version 1 of shop" in apply(settings)
    assert states(settings) == {1: "live"}


def test_a_plan_sees_what_only_the_tools_themselves_tell(settings: Settings) -> None:
    folder = Path("agents/shop")
    (folder / "tools/more.py").write_text('def more() -> str:\n    """More."""\n    return ""\n\n\nLIMIT = 1 / 0\n')
    with pytest.raises(Invalid, match=r"^agents/shop/tools/more.py:6: It fails when it is read: ZeroDivisionError"):
        plan(settings)
    (folder / "tools/more.py").unlink()
    (folder / "policy.toml").write_text('# refunds\n[tools.refund]\neffect = "approve"\n')
    with pytest.raises(
        Invalid, match=r"^agents/shop/policy.toml:2: There is no tool 'refund'. There are: order_status"
    ):
        apply(settings)
    with pytest.raises(NotFound):
        states(settings)


def test_a_plan_is_a_diff_against_what_is_live(settings: Settings) -> None:
    apply(settings)
    instruct("Be brief.\n")
    text = plan(settings)
    assert "+Be brief." in text
    assert "1 files of shop would change against version 1" in text
    rows = json.loads(shown(lambda console: plan_agent(settings, console, "shop", as_json=True)))
    assert rows == [{"change": "changed", "path": "instructions.md"}]


def test_a_canary_is_for_a_share_until_it_is_promoted_or_taken_away(
    settings: Settings, address: DatabaseAddress
) -> None:
    with pytest.raises(Conflict, match="without --canary"):
        apply(settings, "10%")
    apply(settings)
    with pytest.raises(Conflict, match="live already"):
        apply(settings, "10%")
    instruct("Be brief.\n")
    assert "30% of its customers" in apply(settings, "30%")
    assert states(settings) == {1: "live", 2: "canary 30%"}
    got = {version_of(address, f"customer {number}") for number in range(40)}
    assert got == {1, 2}
    roll_back(settings)
    assert states(settings) == {1: "live", 2: ""}
    apply(settings, "30")
    assert "Version 2 of shop is live" in shown(lambda console: promote_agent(settings, console, "shop"))
    assert states(settings) == {1: "", 2: "live"}
    with pytest.raises(Conflict, match="no canary"):
        shown(lambda console: promote_agent(settings, console, "shop"))


def test_a_rollback_goes_to_the_version_before_or_to_one(settings: Settings, address: DatabaseAddress) -> None:
    apply(settings)
    with pytest.raises(Conflict, match="no version before"):
        roll_back(settings)
    for text in ("two", "three"):
        instruct(text)
        apply(settings)
    assert "Version 2" in roll_back(settings)
    assert version_of(address, "anna") == 2
    with pytest.raises(Conflict):
        roll_back(settings)
    assert "Version 1" in roll_back(settings, to=1)
    with pytest.raises(NotFound, match="no version 9"):
        roll_back(settings, to=9)
    assert states(settings) == {1: "live", 2: "", 3: ""}


def test_versions_are_kept_whole(settings: Settings, address: DatabaseAddress) -> None:
    apply(settings)
    instruct("two")
    apply(settings)

    async def main() -> tuple[bytes, bytes]:
        async with open_database(address, Role.APP, size=1) as database:
            one, two = await version_files(database, "shop", 1), await version_files(database, "shop", 2)
        assert one.keys() == two.keys()
        return one["instructions.md"], two["instructions.md"]

    one, two = asyncio.run(main())
    assert one.startswith(b"You answer")
    assert two == b"two"


def test_what_is_wrong_is_refused_with_its_path_in_full(settings: Settings) -> None:
    Path("agents/shop/policy.toml").write_text("a = \n")
    for refused in (plan, apply):
        with pytest.raises(Invalid, match=r"^agents/shop/policy.toml:1: This is not TOML"):
            refused(settings)
    Path("agents/shop/policy.toml").unlink()
    for text, said in (
        ('id = "store"', r"agent.toml:1: The id is store, and the folder's name is not\. Rename"),
        ('id = "shop"\n\nmodel = "openai:x"', r"agent.toml:3: openai:x cannot be asked"),
    ):
        Path("agents/shop/agent.toml").write_text(text)
        with pytest.raises(Invalid, match=said):
            plan(settings)
    Path("agents/shop/agent.toml").unlink()
    Path("agents/shop/agent.toml").symlink_to("/etc/passwd")
    with pytest.raises(Invalid, match=r"agents/shop/agent.toml:1: This is no regular file"):
        plan(settings)
    assert shown(lambda console: list_agents(settings, console, limit=10, as_json=True)).strip() == "[]"


def test_an_example_replaces_nothing(settings: Settings) -> None:
    with pytest.raises(Conflict):
        make_example(Console(file=io.StringIO()), "shop")
    with pytest.raises(Invalid):
        make_example(Console(file=io.StringIO()), "../shop")
    with pytest.raises(NotFound, match="subclaw agents init nobody"):
        shown(lambda console: plan_agent(settings, console, "nobody", as_json=False))


def test_sessions_are_listed_without_their_ids(settings: Settings, address: DatabaseAddress) -> None:
    apply(settings)
    for customer in ("anna", "ben"):
        version_of(address, customer)

    def listed(customer: str | None) -> str:
        return shown(
            lambda console: list_agent_sessions(settings, console, "shop", customer=customer, limit=9, as_json=True)
        )

    assert "ses_" not in listed(None)
    assert [row["customer"] for row in json.loads(listed(None))] == ["ben", "anna"]
    (row,) = json.loads(listed("anna"))
    assert (row["version"], row["messages"]) == (1, 0)
    assert isinstance(row["conversation"], int)
