"""Accounts end to end, with a provider that is strict and misbehaves: connected, used, renewed, lost, handed back."""

import asyncio
import contextlib
import json
import logging
import re
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.budgets import owner_rows
from tests.real.oauth_scene import DOMAIN, NAME, Scene, Way, play

from subclaw.core.access import SecretSet, token_hash
from subclaw.core.agent import Access
from subclaw.core.errors import NotFound
from subclaw.core.oauth import CALLBACK_PATH, AccountLost, client_label
from subclaw.core.policy import Scope
from subclaw.core.secret import label
from subclaw.core.tool import ToolCall
from subclaw.egress.machines import machines as machines_module
from subclaw.egress.oauth import accounts as accounts_module
from subclaw.egress.seal import seal
from subclaw.store import conversations
from subclaw.store.access import StoreAccess
from subclaw.store.database import DatabaseAddress
from subclaw.store.oauth import list_providers, remove_provider, save_provider
from subclaw.store.secrets import placeholders, remove_secret, save_bound_secret
from subclaw.testing.oauth import CLIENT_SECRET, HOST
from subclaw.tools.access import access_tools
from subclaw.tools.toolbox import BuiltInToolbox

GRANTS = "SELECT generation, over FROM oauth_grant"


async def connected(scene: Scene) -> None:
    answer = await scene.connect()
    assert (answer.status_code, "Connected" in answer.text) == (200, True), answer.text


def nothing_stored(scene: Scene) -> bool:
    return scene.rows(GRANTS) == [] and scene.rows("SELECT 1 FROM bound_secret") == [] and scene.told() == []


def is_used(status: int, body: str) -> bool:
    """Tell whether the API let somebody in."""
    return status == 200 and "said" in json.loads(body)


def test_an_account_is_connected_and_used_by_placeholder(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        await connected(scene)
        assert scene.told() == [f"secret {NAME}"]
        given = (await placeholders(scene.app, scene.tenant_id))[NAME]
        assert given.startswith("ya29") or "subclaw" in given
        async with scene.way() as way:
            for placeholder in ("", given):
                status, body = await way.ask(body="hello", placeholder=placeholder)
                assert is_used(status, body)
                assert json.loads(body)["said"] == "hello"
                assert not [token for token in scene.provider.given if token in body], "the echo is blotted out"
        stored = str(scene.rows("SELECT sealed, placeholder, binding FROM bound_secret")) + str(
            scene.rows("SELECT token FROM oauth_grant")
        )
        assert not [token for token in scene.provider.given if token in stored]

    play(address, tmp_path, scenario)


def test_the_link_leads_by_the_tenants_own_hostname_and_proves_who_asked(
    address: DatabaseAddress, tmp_path: Path
) -> None:
    async def scenario(scene: Scene) -> None:
        link = await scene.link()
        assert link.startswith(f"http://quiet-otter.{DOMAIN}/_/oauth/start/")
        to = await scene.get(link)
        asked = parse_qs(urlsplit(to.headers["location"]).query)
        assert asked["redirect_uri"] == [f"http://quiet-otter.{DOMAIN}{CALLBACK_PATH}"]
        assert asked["scope"] == ["read write"]
        assert to.headers["referrer-policy"] == "no-referrer"
        assert "set-cookie" not in to.headers
        token = link.rpartition("/")[2]
        ((state_hash, verifier),) = scene.rows("SELECT state_hash, verifier FROM oauth_flow")
        assert state_hash == token_hash(token)
        assert asked["code_challenge"][0].encode() not in bytes(verifier)  # type: ignore[call-overload]

    play(address, tmp_path, scenario)


def test_one_address_for_all_tenants_if_the_provider_wants_that(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        own = scene.provider.provider(redirect_uri=f"https://{DOMAIN}{CALLBACK_PATH}")
        await save_provider(scene.operator, own, None)
        assert (await scene.link()).startswith(f"https://{DOMAIN}/_/oauth/start/")
        await connected(scene)

    play(address, tmp_path, scenario)


def test_a_provider_that_wants_basic_authentication(address: DatabaseAddress, tmp_path: Path) -> None:
    play(address, tmp_path, connected, basic=True)


def test_a_link_works_once_for_its_hostname_and_for_ten_minutes(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        back = await scene.consent()
        elsewhere = await scene.get(back.replace("quiet-otter", "loud-otter"))
        assert (elsewhere.status_code, nothing_stored(scene)) == (404, True)
        answers = await asyncio.gather(*(scene.get(back) for _ in range(3)))
        assert sorted(answer.status_code for answer in answers) == [200, 422, 422]
        assert scene.provider.exchanges == 1
        assert "ask your agent for another one" in (await scene.get(back)).text
        late = await scene.consent()
        owner_rows(address, "UPDATE oauth_flow SET expires_at = now()")
        assert "expired" in (await scene.get(late)).text
        for state in ("", "x", "a" * 43, "a" * 44):
            assert (
                await scene.get(f"http://quiet-otter.{DOMAIN}{CALLBACK_PATH}?code=a&state={state}")
            ).status_code == 404

    play(address, tmp_path, scenario)


def test_a_no_of_the_person_is_taken(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        back = urlsplit(await scene.consent())
        state = parse_qs(back.query)["state"][0]
        answer = await scene.get(back._replace(query=f"error=access_denied&state={state}").geturl())
        assert (answer.status_code, "was not connected" in answer.text) == (403, True)
        assert (await scene.get(back.geturl())).status_code == 422, "the link is used up"
        assert nothing_stored(scene)

    play(address, tmp_path, scenario)


MISBEHAVIOURS = ["break", "error", "garbage", "huge", "redirect", "busy", "invalid_grant", "invalid_client", "<script>"]


@pytest.mark.parametrize("misbehaves", [*MISBEHAVIOURS, "hang"])
def test_a_provider_that_misbehaves_is_spoken_of_in_words(
    misbehaves: str,
    address: DatabaseAddress,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("subclaw.egress.oauth.call.CALL_S", 1.0)
    caplog.set_level(logging.INFO)

    async def scenario(scene: Scene) -> None:
        scene.provider.misbehaves = misbehaves
        answer = await scene.connect()
        assert answer.status_code == 403
        assert "Nothing was stored. Ask your agent for another link." in answer.text
        assert "<script>" not in answer.text
        assert nothing_stored(scene)
        assert scene.provider.upstream.requests[-1].target == "/token", "no redirect was followed"
        assert CLIENT_SECRET not in caplog.text + answer.text

    play(address, tmp_path, scenario)


@pytest.mark.parametrize("at", ["http://127.0.0.1", "elsewhere"])
def test_a_provider_is_reached_by_checked_addresses_alone(at: str, address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        owner_rows(address, "DELETE FROM egress_rule")  # the name has no address then, or one on this host
        if at != "elsewhere":
            settings = replace(
                scene.provider.provider(), token_url=f"https://localhost.localdomain:{scene.provider.port}/"
            )
            await save_provider(scene.operator, settings, None)
        answer = await scene.connect()
        assert "could not be asked" in answer.text
        assert scene.provider.exchanges == 0

    play(address, tmp_path, scenario)


def test_an_account_is_renewed_before_it_expires_and_rotated(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        await connected(scene)
        scene.provider.expire()
        async with scene.way() as way:
            for generation in range(2, 5):
                owner_rows(address, "UPDATE oauth_grant SET expires_at = now(), generation = generation")
                await seen(way, scene)
                assert is_used(*await way.ask())
                assert scene.rows(GRANTS) == [(generation, False)]
        assert scene.provider.renewals == 3
        assert scene.told() == [f"secret {NAME}"]

    play(address, tmp_path, scenario)


async def seen(way: Way, scene: Scene) -> None:
    """Wait until the gateway's process knows when the account's secret expires."""
    ((id, expires_at),) = scene.rows("SELECT secret_id, expires_at FROM oauth_grant")

    async def known() -> bool:
        grant = way.machine.access.grant_of(int(str(id)))
        return grant is not None and grant.expires_at == expires_at

    await scene.until(known)


def test_tokens_that_live_for_two_seconds(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        await connected(scene)
        async with scene.way() as way:

            async def renewed_twice() -> bool:
                assert is_used(*await way.ask())
                return scene.provider.renewals >= 2

            await scene.until(renewed_twice)

    play(address, tmp_path, scenario, lives_s=2)


@pytest.mark.parametrize("rotates", [True, False])
def test_a_rejected_token_is_renewed_and_the_request_made_again(
    rotates: bool, address: DatabaseAddress, tmp_path: Path
) -> None:
    async def scenario(scene: Scene) -> None:
        await connected(scene)
        owner_rows(address, "UPDATE oauth_grant SET renewed_at = now() - interval '1 minute'")
        async with scene.way() as way:
            scene.provider.expire()
            answers = await asyncio.gather(*(way.ask(body=f"{n}") for n in range(8)))
            assert [json.loads(body)["said"] for _, body in answers] == [f"{n}" for n in range(8)]
            assert scene.provider.renewals == 1, "once for all of them"
            scene.provider.expire()
            assert (await way.ask())[0] == 401, "it is new: to renew it again would not help"
            assert scene.provider.renewals == 1

    play(address, tmp_path, scenario, rotates=rotates)


def test_two_processes_renew_once(address: DatabaseAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines_module, "RENEWAL_LOOK_S", 0.02)

    async def scenario(scene: Scene) -> None:
        await connected(scene)
        owner_rows(address, "UPDATE oauth_grant SET expires_at = now()")
        async with AsyncExitStack() as stack:
            ways = [await stack.enter_async_context(scene.way()) for _ in range(3)]
            scene.provider.gate.clear()
            asking = [asyncio.ensure_future(way.ask()) for way in ways for _ in range(3)]

            async def asked() -> bool:
                return scene.rows("SELECT held_until > now() FROM oauth_grant") == [(True,)]

            await scene.until(asked)
            scene.provider.gate.set()
            for status, body in await asyncio.gather(*asking):
                assert is_used(status, body)
        assert scene.provider.renewals == 1
        assert scene.rows(GRANTS) == [(2, False)]

    play(address, tmp_path, scenario)


def test_an_open_connection_outlives_a_renewal(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        await connected(scene)
        async with scene.way() as way:
            before = way.machine.access
            owner_rows(address, "UPDATE oauth_grant SET expires_at = now(), generation = generation")
            await seen(way, scene)
            assert is_used(*await way.ask())
            assert way.machine.access.allows_what(before, HOST, scene.provider.port)
            await connected(scene)

            async def changed() -> bool:
                return not way.machine.access.allows_what(before, HOST, scene.provider.port)

            await scene.until(changed)  # perhaps somebody else's account

    play(address, tmp_path, scenario)


def test_a_lost_account_is_told_of_once_and_connected_again(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        await connected(scene)
        owner_rows(address, "UPDATE oauth_grant SET expires_at = now()")
        scene.provider.end_consents()
        async with scene.way() as way:
            for _ in range(3):
                status, body = await way.ask()
                assert (status, "has to be connected again" in body) == (403, True)
            assert scene.told() == [f"secret {NAME}", f"account {NAME}"]
            given = await placeholders(scene.app, scene.tenant_id)
            await connected(scene)
            assert await placeholders(scene.app, scene.tenant_id) == given, "the placeholder stays"

            async def used() -> bool:
                return is_used(*await way.ask())

            await scene.until(used)

    play(address, tmp_path, scenario)


def test_a_token_that_cannot_be_renewed_is_lost_when_it_expires(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        await connected(scene)
        async with scene.way() as way:
            assert is_used(*await way.ask())
            owner_rows(address, "UPDATE oauth_grant SET expires_at = now(), generation = generation")
            await seen(way, scene)
            assert (await way.ask())[0] == 403
        assert scene.told()[-1] == f"account {NAME}"

    play(address, tmp_path, scenario, renews=False)


@pytest.mark.parametrize("misbehaves", ["error", "garbage", "invalid_client"])
def test_a_renewal_that_fails_for_now_loses_nothing(
    misbehaves: str, address: DatabaseAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines_module, "RENEWAL_WAIT_S", 0.5)
    monkeypatch.setattr(accounts_module, "PAUSE_S", 0.2)

    async def scenario(scene: Scene) -> None:
        await connected(scene)
        owner_rows(address, "UPDATE oauth_grant SET expires_at = now() + interval '20 seconds'")
        scene.provider.misbehaves = misbehaves
        async with scene.way() as way:
            assert is_used(*await way.ask()), "what is not expired yet is used"
            owner_rows(address, "UPDATE oauth_grant SET expires_at = now(), generation = generation")
            await seen(way, scene)
            assert (await way.ask())[0] == 503
            scene.provider.misbehaves = ""

            async def used() -> bool:
                return is_used(*await way.ask())

            await scene.until(used)
        assert scene.told() == [f"secret {NAME}"]

    play(address, tmp_path, scenario)


@pytest.mark.parametrize("how", ["secret", "provider", "tenant"])
def test_what_is_taken_away_is_handed_back_to_the_provider(
    how: str, address: DatabaseAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts_module, "REVOKE_EVERY_S", 0.05)

    async def scenario(scene: Scene) -> None:
        await connected(scene)
        refresh = scene.provider.given[-1]
        async with scene.way() as way:
            if how == "secret":
                await remove_secret(scene.operator, Scope.TENANT, scene.tenant_id, NAME)
            elif how == "provider":
                assert await remove_provider(scene.operator, "test") == 1
                assert await list_providers(scene.operator, limit=10) == ()
            else:
                owner_rows(address, "DELETE FROM tenant")

            async def handed_back() -> bool:
                return scene.provider.revoked == [refresh] and scene.rows("SELECT 1 FROM oauth_revocation") == []

            await scene.until(handed_back)

            async def closed() -> bool:
                return (await way.ask())[0] == 403

            await scene.until(closed)
        assert scene.rows(GRANTS) == []

    play(address, tmp_path, scenario)


def test_an_account_is_connected_though_whoever_asked_has_gone(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        scene.provider.gate.clear()
        asking = asyncio.ensure_future(scene.get(await scene.consent()))

        async def asked() -> bool:
            return any(seen.target == "/token" for seen in scene.provider.upstream.requests)

        await scene.until(asked)
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
        scene.provider.gate.set()

        async def told() -> bool:
            return scene.told() == [f"secret {NAME}"]

        await scene.until(told)

    play(address, tmp_path, scenario)


def test_who_sets_the_secret_by_hand_leaves_the_account(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        await connected(scene)
        placeholder = (await placeholders(scene.app, scene.tenant_id))[NAME]
        binding = scene.provider.provider().binding
        of = label(NAME, Scope.TENANT, scene.tenant_id, placeholder, binding)
        await save_bound_secret(
            scene.app,
            name=NAME,
            scope=Scope.TENANT,
            tenant_id=scene.tenant_id,
            placeholder=placeholder,
            binding=binding,
            sealed=seal(bytes(scene.key.public_key), "a-token-of-my-own", of),
        )
        assert scene.rows(GRANTS) == []
        async with scene.way() as way:
            await way.ask()
        assert scene.provider.upstream.requests[-1].headers["authorization"] == "Bearer a-token-of-my-own"

    play(address, tmp_path, scenario)


def test_a_secret_of_that_name_which_the_person_set_gives_way(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        await save_bound_secret(
            scene.operator,
            name=NAME,
            scope=Scope.TENANT,
            tenant_id=scene.tenant_id,
            placeholder="a-placeholder-that-stays",
            binding=scene.provider.provider().binding,
            sealed=b"x",
        )
        await connected(scene)
        assert await placeholders(scene.app, scene.tenant_id) == {NAME: "a-placeholder-that-stays"}
        async with scene.way() as way:
            assert is_used(*await way.ask())

    play(address, tmp_path, scenario)


def test_a_key_that_is_sealed_for_another_provider_is_not_used(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        sealed = seal(bytes(scene.key.public_key), CLIENT_SECRET, client_label("other"))
        await save_provider(scene.operator, scene.provider.provider(), sealed)
        answer = await scene.connect()
        assert (answer.status_code, nothing_stored(scene)) == (503, True)
        assert scene.provider.exchanges == 0

    play(address, tmp_path, scenario)


def test_the_agent_asks_and_is_told(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        requests = StoreAccess(scene.app, scene.operator)
        tools = access_tools(requests, access=Access.NEVER, public_url="http://x", start_account=scene.links.start)

        async def ask(**arguments: object) -> str:
            call = ToolCall(
                id="call_0", name="ask_for_access", arguments=json.dumps({"reason": "to read mail", **arguments})
            )
            return (await BuiltInToolbox(tools).perform(scene.caller, call)).content

        words = await ask(oauth="test")
        for link in re.findall(r"http://\S+", words):
            to = await scene.get(link)
            assert (await scene.get(scene.provider.consent(to.headers["location"]))).status_code == 200
        owner_rows(address, "UPDATE oauth_grant SET expires_at = now(), renewable = false")
        async with scene.way() as way:
            assert (await way.ask())[0] == 403
        for wrong in ({"oauth": "google"}, {"oauth": "test", "host": "a.test"}, {"oauth": "test", "secret": "A"}):
            assert "http" not in await ask(**wrong)
        (lease,) = await conversations.claim(scene.app, 1, 10)
        opened = await conversations.open_turn(scene.app, lease)
        binding = scene.provider.provider().binding
        told = [event for event in opened.events if isinstance(event, SecretSet | AccountLost)]
        assert told == [SecretSet(name=NAME, binding=binding), AccountLost(provider="test", name=NAME)]

    play(address, tmp_path, scenario)


def test_the_agent_hears_which_providers_there_are(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        with pytest.raises(NotFound, match=r"There are: test\."):
            await scene.links.start(scene.caller, "google")

    play(address, tmp_path, scenario)
