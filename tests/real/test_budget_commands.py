"""`subclaw budgets` against a real PostgreSQL: set, listed, removed, and mistakes told in words."""

import json

import pytest
from tests.budgets import owner_rows, running
from tests.real.test_plans import settings_for, shown

from subclaw.commands.budgets import limit, list_budgets, parse_key, unlimit
from subclaw.core.errors import Invalid, NotFound
from subclaw.store.database import DatabaseAddress

KEY = ("tenant", "tenant-1", "money", "day")


def put(address: DatabaseAddress, *key: str, soft: str | None = None, hard: str | None = None) -> str:
    settings = settings_for(address)
    return shown(lambda console: limit(settings, console, parse_key(*key), soft=soft, hard=hard))


def listed(address: DatabaseAddress) -> list[list[str]]:
    settings = settings_for(address)
    rows = json.loads(shown(lambda console: list_budgets(settings, console, as_json=True)))
    return [list(row.values()) for row in rows]


def test_budgets_are_set_listed_and_removed(address: DatabaseAddress) -> None:
    (lease,) = running(address)
    assert put(address, *KEY, hard="2.50") == "The budget is set: tenant tenant-1, money, day.\n"
    put(address, *KEY, soft="0.000001", hard="3")
    put(address, "conversation", str(lease.conversation_id), "tokens", "total", hard="100")
    put(address, "operator", "*", "machine-seconds", "month", hard="0")
    assert owner_rows(address, "SELECT soft, hard, tenant_id FROM budget WHERE level = 'tenant'") == [
        (1, 3_000_000, lease.tenant_id)
    ]
    assert listed(address) == [
        ["operator", "*", "machine-seconds", "month", "", "0", "0", "0"],
        ["tenant", "tenant-1", "money", "day", "0.0000", "3.0000", "0.0000", "0.0000"],
        ["conversation", str(lease.conversation_id), "tokens", "total", "", "100", "0", "0"],
    ]
    shown(lambda console: unlimit(settings_for(address), console, parse_key(*KEY)))
    with pytest.raises(NotFound):
        shown(lambda console: unlimit(settings_for(address), console, parse_key(*KEY)))
    assert [row[0] for row in listed(address)] == ["operator", "conversation"]


def test_without_budgets_the_table_says_so(address: DatabaseAddress) -> None:
    table = shown(lambda console: list_budgets(settings_for(address), console, as_json=False))
    assert table == "There are no budgets: nothing is limited.\n"


@pytest.mark.parametrize(
    ("key", "hard", "words"),
    [
        (("turn", "*", "money", "day"), "1", "The level is operator, agent, tenant or conversation, not 'turn'"),
        (("tenant", "*", "gold", "day"), "1", "money, tokens, segments or machine-seconds"),
        (("tenant", "*", "money", "week"), "1", "The period is day, month or total"),
        (("tenant", "*", "money", "day"), "much", "dollars, such as 2.50"),
        (("tenant", "*", "money", "day"), "nan", "dollars"),
        (("tenant", "*", "money", "day"), "-1", "not below zero"),
        (("tenant", "*", "money", "day"), "0.0000001", "dollars"),
        (("tenant", "*", "tokens", "day"), "1.5", "a whole number"),
        (("tenant", "*", "tokens", "day"), "1e99", "a whole number"),
        (("tenant", "*", "tokens", "day"), None, "a soft limit, a hard limit or both"),
        (("conversation", "first", "tokens", "day"), "1", "by its number"),
    ],
)
def test_mistakes_are_told_in_words(
    address: DatabaseAddress, key: tuple[str, ...], hard: str | None, words: str
) -> None:
    with pytest.raises(Invalid) as caught:
        put(address, *key, hard=hard)
    assert words in caught.value.public


@pytest.mark.parametrize("key", [("tenant", "nobody", "money", "day"), ("conversation", "999", "tokens", "day")])
def test_whoever_is_not_there_has_no_budget(address: DatabaseAddress, key: tuple[str, ...]) -> None:
    with pytest.raises(NotFound):
        put(address, *key, hard="1")
