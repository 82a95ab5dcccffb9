"""Handing over a secret: once, sealed, told to the agent, and nowhere in the clear. Over a real PostgreSQL."""

import asyncio
import html
import json
import logging
import re

import httpx2
import pytest
from tests.real.access_scene import KEY, URL, Scene, link_in, play

from subclaw.core.agent import Access
from subclaw.core.policy import Scope
from subclaw.core.tenant import TenantId
from subclaw.store.database import DatabaseAddress
from subclaw.store.secrets import list_secrets, placeholders
from subclaw.testing.models import ScriptedModel, calls, words

WANTED = {"reason": "to clone <your> things", "secret": "GITHUB_TOKEN", "hosts": ["api.github.com", "github.com"]}
MODEL = [calls(("ask_for_access", json.dumps(WANTED))), words("please follow the link"), words("cloned")]


async def link_of(scene: Scene) -> str:
    """Have the agent ask for its secret; return the link's path."""
    async with scene.worker():
        assert await scene.ask("clone it") == "please follow the link"
    return link_in(scene.told())


def shown(page: httpx2.Response) -> str:
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", page.text)))


def test_a_secret_is_handed_over_once_and_the_agent_goes_on_by_itself(
    address: DatabaseAddress, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def steps(scene: Scene) -> None:
        link = await link_of(scene)
        async with scene.browser() as browser, scene.worker():
            page = await browser.get(link)
            assert page.status_code == 200
            assert "to clone <your> things" in shown(page)
            assert "in the header authorization of requests to api.github.com and github.com" in shown(page)
            assert "may reach api.github.com and github.com, which it may not yet" in shown(page)
            done = await browser.post(link, data={"value": f" {KEY}\n"})
            assert done.status_code == 200
            assert "GITHUB_TOKEN is sealed" in shown(done)
            assert (await scene.until_replies(2))[-1] == "cloned"
            over = await browser.get(link)
            assert (over.status_code, "has been used" in shown(over)) == (410, True)
            again = await browser.post(link, data={"value": "another-value-of-it"})
            assert again.status_code == 410
        assert "The secret GITHUB_TOKEN is there." in scene.told()
        tenant = TenantId(1)
        assert await scene.secrets(tenant) == {"GITHUB_TOKEN": KEY}
        (placeholder,) = (await placeholders(scene.database, tenant)).values()
        assert placeholder.startswith("ghp_subclaw")
        assert len(placeholder) == len(KEY)
        everything = await scene.everything()
        assert KEY not in everything
        assert KEY not in page.text + done.text
        ours = [record.getMessage() for record in caplog.records if record.name != "httpx2"]
        assert link.rpartition("/")[2] not in "\n".join(ours)
        assert await scene.look("SELECT 1 FROM event WHERE type = 'secret.set'") == [(1,)]

    play(steps, address, ScriptedModel(MODEL))


def test_two_at_once_set_it_once(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        link = await link_of(scene)
        values = [f"{KEY}{number}" for number in range(6)]
        async with scene.browser() as browser:
            answers = await asyncio.gather(*(browser.post(link, data={"value": value}) for value in values))
        assert sorted(answer.status_code for answer in answers) == [200, *[410] * 5]
        (kept,) = (await scene.secrets(TenantId(1))).values()
        won = next(value for value, answer in zip(values, answers, strict=True) if answer.status_code == 200)
        assert kept == won
        assert await scene.look("SELECT count(*) FROM inbox WHERE provider_id LIKE 'secret:%'") == [(1,)]

    play(steps, address, ScriptedModel(MODEL))


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("two\nlines", "one line"),
        ("k\u00e9y-that-is-not-ascii", "ASCII"),
        ("x" * 8_193, "8,192"),
        ("ghp_subclaw" + "a1" * 15, "placeholder"),
    ],
)
def test_a_value_that_cannot_be_does_not_use_the_link_up(address: DatabaseAddress, value: str, why: str) -> None:
    async def steps(scene: Scene) -> None:
        link = await link_of(scene)
        async with scene.browser() as browser:
            refused = await browser.post(link, data={"value": value})
            assert refused.status_code == 422
            assert why in shown(refused)
            assert not value.strip() or value not in refused.text
            assert (await browser.post(link, data={"value": KEY})).status_code == 200

    play(steps, address, ScriptedModel(MODEL))


def test_a_secret_that_is_set_again_keeps_its_placeholder(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        link = await link_of(scene)
        async with scene.browser() as browser:
            await browser.post(link, data={"value": KEY})
            before = await placeholders(scene.database, TenantId(1))
            async with scene.worker():
                await scene.until_replies(2)
                await scene.ask("it has changed")
            other = link_in(scene.told().partition("it has changed")[2])
            assert other != link
            assert (await browser.post(other, data={"value": KEY[::-1]})).status_code == 200
        assert await placeholders(scene.database, TenantId(1)) == before
        assert await scene.secrets(TenantId(1)) == {"GITHUB_TOKEN": KEY[::-1]}

    again = calls(("ask_for_access", json.dumps(WANTED)))
    play(steps, address, ScriptedModel([*MODEL, again, words("please follow the link")]))


def test_a_link_that_has_expired_says_so(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        link = await link_of(scene)
        await scene.look("UPDATE secret_request SET expires_at = now() RETURNING id")
        async with scene.browser() as browser:
            for answer in (await browser.get(link), await browser.post(link, data={"value": KEY})):
                assert answer.status_code == 410
                assert "has expired" in shown(answer)
        assert await scene.secrets(TenantId(1)) == {}

    play(steps, address, ScriptedModel(MODEL))


@pytest.mark.parametrize("token", ["x", "a" * 43, "a" * 44, "../../etc", "%00" * 43])
def test_what_is_no_link_says_so(address: DatabaseAddress, token: str) -> None:
    async def steps(scene: Scene) -> None:
        async with scene.browser() as browser:
            assert (await browser.get(f"/secret/{token}")).status_code == 404
            assert (await browser.post(f"/secret/{token}", data={"value": "x"})).status_code == 404
        assert await scene.secrets(TenantId(1)) == {}

    play(steps, address, ScriptedModel(MODEL))


def test_a_key_that_was_taken_out_of_a_message_is_described_by_the_person(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        async with scene.worker():
            await scene.say(f"use {KEY}")
            notice, _ = await scene.until_replies(2)
        link = link_in(notice)
        async with scene.browser() as browser, scene.worker():
            page = await browser.get(link)
            assert "Hand over a GitHub token" in shown(page)
            assert 'value="GITHUB_TOKEN"' in page.text
            assert 'value="api.github.com github.com"' in page.text
            typed = {"name": "my_token", "hosts": "10.0.0.1", "place": "header", "field": "", "value": KEY}
            refused = await browser.post(link, data=typed)
            assert refused.status_code == 422
            assert "address" in shown(refused)
            assert 'value="my_token"' in refused.text
            assert KEY not in refused.text
            for name in ("bash_env", "HTTPS_PROXY", "NODE_OPTIONS", "PythonPath"):
                refused = await browser.post(link, data={**typed, "name": name, "hosts": "api.github.com"})
                assert refused.status_code == 422
                assert f"environment variable {name.upper()}" in shown(refused)
            typed |= {"hosts": "api.github.com, uploads.github.com", "place": "basic", "field": "me"}
            assert (await browser.post(link, data=typed)).status_code == 200
            await scene.until_replies(3)
        (kept,) = await list_secrets(scene.operator, limit=9)
        assert (kept.name, kept.scope, kept.binding.hosts) == (
            "MY_TOKEN",
            Scope.TENANT,
            ("api.github.com", "uploads.github.com"),
        )
        assert (kept.binding.place, kept.binding.name) == ("basic", "me")
        assert "as the password of me" in scene.told()

    play(steps, address, ScriptedModel([words("I wait"), words("I go on")]))


def test_where_users_open_no_hosts_a_secret_opens_none(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        async with scene.worker():
            await scene.say(f"use {KEY}")
            notice, _ = await scene.until_replies(2)
        async with scene.browser() as browser:
            typed = {"name": "A_TOKEN", "hosts": "a.test", "place": "header", "field": "", "value": KEY}
            refused = await browser.post(link_in(notice), data=typed)
        assert refused.status_code == 403
        assert "a.test is not open" in shown(refused)
        assert await scene.secrets(TenantId(1)) == {}

    play(steps, address, ScriptedModel([words("I wait")]), access=Access.OPERATOR)


def test_a_deny_of_the_operators_goes_before(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        link = await link_of(scene)
        await scene.deny("github.com")
        async with scene.browser() as browser:
            refused = await browser.post(link, data={"value": KEY})
        assert refused.status_code == 403
        assert "denied by a rule of the operator" in shown(refused)

    play(steps, address, ScriptedModel(MODEL))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "null"}, 200),
        ({"origin": URL}, 200),
        ({"sec-fetch-site": "same-origin", "origin": "null"}, 200),
        ({"origin": "http://evil.test"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site", "origin": "null"}, 403),
        ({"content-type": "application/json"}, 422),
    ],
)
def test_only_its_own_page_hands_over(address: DatabaseAddress, headers: dict[str, str], status: int) -> None:
    async def steps(scene: Scene) -> None:
        link = await link_of(scene)
        async with scene.browser() as browser:
            assert (await browser.post(link, data={"value": KEY}, headers=headers)).status_code == status

    play(steps, address, ScriptedModel(MODEL))


def test_nobody_keeps_the_page_frames_it_or_learns_its_address(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        link = await link_of(scene)
        async with scene.browser() as browser:
            answers = [await browser.get(link), await browser.get("/secret/x"), await browser.post(link, data={})]
            answers.append(await browser.post(link, data={"value": KEY}))
        for answer in answers:
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "script-src" not in policy
            assert "form-action 'self'" in policy
            assert "frame-ancestors 'none'" in policy
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "set-cookie" not in answer.headers
            assert "<script" not in answer.text

    play(steps, address, ScriptedModel(MODEL))


def test_a_tenant_sees_no_others_requests(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        await scene.say(f"use {KEY}", sender="a")
        await scene.say(f"use {KEY}", sender="b")
        rows = await scene.database.rows("SELECT count(*) FROM secret_request")
        assert rows == [(0,)]
        rows = await scene.database.rows(
            "SELECT (SELECT count(*) FROM secret_request) FROM set_config('subclaw.tenant', '1', true)"
        )
        assert rows == [(1,)]

    play(steps, address, ScriptedModel(MODEL))
