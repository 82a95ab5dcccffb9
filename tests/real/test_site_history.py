"""A site's versions against a real PostgreSQL: by the tool, by people's words, and by the operator's command."""

import asyncio
import io

import pytest
from rich.console import Console
from tests.real.identity_scene import PHONE, WEB, heard, queued, run, say, tenant_of, told

from subclaw.commands.sites import list_sites, restore_site, take_site_down
from subclaw.config import load_settings
from subclaw.core.errors import Denied, Invalid, NotFound
from subclaw.core.site import VERSIONS_KEPT, DynamicSite, SiteContent, StaticSite
from subclaw.core.site_words import NO_SITE, NOTHING_AFTER, NOTHING_BEFORE
from subclaw.core.tenant import TenantId
from subclaw.store.database import Database, DatabaseAddress, Role, open_database
from subclaw.store.sites import StoreSiteHistory, StoreSites
from subclaw.store.visitors import set_private
from subclaw.tools.site_history import history_actions

ONE, TWO, THREE = (StaticSite(release=digit * 64) for digit in "123")


async def ann(database: Database, address: DatabaseAddress) -> TenantId:
    await say(database, WEB, "hello")
    found = tenant_of(address, WEB)
    assert found is not None
    return TenantId(found)


async def publish(database: Database, tenant_id: TenantId, *contents: SiteContent) -> None:
    for content in contents:
        await StoreSites(database, database).publish(tenant_id, content, files=2, size_bytes=20)


async def served(address: DatabaseAddress, tenant_id: TenantId) -> SiteContent:
    async with open_database(address, Role.OPERATOR, size=1) as operator:
        site = await StoreSites(operator, operator).site_of(tenant_id)
    assert site is not None
    return site.content


async def act(database: Database, tenant_id: TenantId, said: str) -> str:
    actions = {action.name: action for action in history_actions(StoreSiteHistory(database))}
    name, *words = said.split()
    return await actions[name].perform(tenant_id, words)


def test_undo_goes_back_step_by_step_and_redo_returns(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        tenant = await ann(database, address)
        assert await act(database, tenant, "undo") == NOTHING_BEFORE
        await publish(database, tenant, ONE, DynamicSite(port=8000), THREE)
        for undone in (DynamicSite(port=8000), ONE):
            await act(database, tenant, "undo")
            assert await served(address, tenant) == undone
        assert await act(database, tenant, "undo") == NOTHING_BEFORE
        for redone in (DynamicSite(port=8000), THREE):
            await act(database, tenant, "redo")
            assert await served(address, tenant) == redone
        assert await act(database, tenant, "redo") == NOTHING_AFTER

    run(scenario, address)


def test_what_is_published_after_an_undo_goes_back_to_what_was_shown_then(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        tenant = await ann(database, address)
        await publish(database, tenant, ONE, TWO)
        await act(database, tenant, "undo")
        await publish(database, tenant, THREE)
        await act(database, tenant, "undo")
        assert await served(address, tenant) == ONE
        await act(database, tenant, "undo 2")
        assert await served(address, tenant) == TWO
        lines = (await act(database, tenant, "history")).splitlines()
        assert [(line[0], "shown now" in line) for line in lines] == [("3", False), ("2", True), ("1", False)]

    run(scenario, address)


def test_a_number_that_is_not_kept_is_told_and_changes_nothing(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        tenant = await ann(database, address)
        await publish(database, tenant, ONE)
        with pytest.raises(NotFound, match="Version 7"):
            await act(database, tenant, "undo 7")
        with pytest.raises(Invalid, match="no version"):
            await act(database, tenant, "undo everything")
        assert await served(address, tenant) == ONE

    run(scenario, address)


def test_the_same_again_is_no_version_and_the_oldest_are_forgotten(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        tenant = await ann(database, address)
        await publish(database, tenant, ONE, ONE, ONE)
        assert len((await act(database, tenant, "history")).splitlines()) == 1
        await publish(database, tenant, *(TWO if n % 2 else THREE for n in range(3 * VERSIONS_KEPT)))
        assert len((await act(database, tenant, "history")).splitlines()) == VERSIONS_KEPT

    run(scenario, address)


def test_publishing_at_once_makes_versions_one_after_the_other(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        tenant = await ann(database, address)
        contents = [StaticSite(release=f"{n:064}") for n in range(8)]
        await asyncio.gather(*(publish(database, tenant, content) for content in contents))
        versions = await StoreSiteHistory(database).versions(tenant)
        assert [version.number for version in versions] == list(range(8, 0, -1))
        assert [version.is_served for version in versions] == [True] + [False] * 7

    run(scenario, address)


@pytest.mark.parametrize("sender", [WEB, PHONE])
def test_a_person_undoes_by_text_at_once_without_the_agent(address: DatabaseAddress, sender: object) -> None:
    async def scenario(database: Database) -> None:
        here = PHONE if sender == PHONE else WEB
        await say(database, here, "make it blue")
        tenant = TenantId(tenant_of(address, here) or 0)
        await publish(database, tenant, ONE, TWO)
        for text in ("undo", "redo site", "site history"):
            await say(database, here, text)
        assert await served(address, tenant) == TWO
        back, again, history = queued(address, here) if here == PHONE else told(address, here)
        assert ("version 1" in back, "version 2" in again, len(history.splitlines())) == (True, True, 2)
        assert [text for _, text in heard(address)] == ["make it blue"]

    run(scenario, address)


def test_undo_is_for_the_agent_unless_it_has_just_published(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        tenant = await ann(database, address)
        await say(database, WEB, "undo")
        await publish(database, tenant, ONE, TWO)
        await say(database, WEB, "and now write a letter")
        await say(database, WEB, "undo")
        assert await served(address, tenant) == TWO
        assert [text for _, text in heard(address)] == ["hello", "undo", "and now write a letter", "undo"]
        await say(database, WEB, "undo site")
        assert await served(address, tenant) == ONE

    run(scenario, address)


def test_without_a_site_words_say_so(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        await ann(database, address)
        for text in ("site history", "undo site", "redo site"):
            await say(database, WEB, text)
        assert told(address, WEB) == [NO_SITE, NOTHING_BEFORE, NOTHING_AFTER]

    run(scenario, address)


def test_the_router_hears_of_every_change(address: DatabaseAddress) -> None:
    async def scenario(database: Database) -> None:
        tenant = await ann(database, address)
        await publish(database, tenant, ONE, TWO)
        async with open_database(address, Role.OPERATOR, size=1) as operator:
            sites = StoreSites(database, operator)
            known = (await sites.changes("")).mark
            await act(database, tenant, "undo")
            changes = await sites.changes(known)
            assert [(site.tenant_id, site.content) for site in changes.sites] == [(tenant, ONE)]
            await set_private(database, tenant, b"0" * 32)
            private = await sites.changes(changes.mark)
            assert [site.is_private for site in private.sites] == [True]
            await set_private(database, tenant, None)
            assert [site.is_private for site in (await sites.changes(private.mark)).sites] == [False]

    run(scenario, address)


def test_the_operator_takes_a_site_down_and_restores_it(address: DatabaseAddress) -> None:
    settings = load_settings({"DATABASE_URL": address.url, "SUBCLAW_HOME": "/nowhere"})
    output = io.StringIO()
    console = Console(file=output, width=200)

    async def scenario(database: Database) -> None:
        tenant = await ann(database, address)
        with pytest.raises(NotFound, match="nobody"):
            await take_site_down(settings, console, "nobody")
        await publish(database, tenant, ONE)
        async with open_database(address, Role.OPERATOR, size=1) as operator:
            sites = StoreSites(database, operator)
            name = await sites.name_of(tenant)
            await take_site_down(settings, console, name)
            assert [site.is_paused for site in (await sites.changes("")).sites] == [True]
            with pytest.raises(Denied, match="taken the site down"):
                await sites.name_of(tenant)
            await list_sites(settings, console, limit=10, only_down=True, as_json=False)
            await restore_site(settings, console, name)
            assert [site.is_paused for site in (await sites.changes("")).sites] == [False]
            assert await sites.name_of(tenant) == name
        await list_sites(settings, console, limit=10, only_down=True, as_json=False)
        assert f"subclaw sites restore {name}" in output.getvalue()
        assert output.getvalue().count("folder") == 1
        assert "No site was taken down." in output.getvalue()

    run(scenario, address)
