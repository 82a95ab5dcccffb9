"""Keys that people send never get into the database, and agents ask for access, against a real PostgreSQL."""

import asyncio
import json
import logging
from collections.abc import Mapping

import pytest
from tests.real.access_scene import KEY, URL, Scene, code_in, link_in, play

from subclaw.channels.sms.inbound import sms_router
from subclaw.channels.sms.paths import WEBHOOK_PATH
from subclaw.core.access import token_hash
from subclaw.core.agent import Access
from subclaw.core.policy import Mode, Scope
from subclaw.core.tool import Caller, ToolCall
from subclaw.store import conversations
from subclaw.store.database import DatabaseAddress
from subclaw.store.egress_rules import list_rules
from subclaw.store.outbox import StoreReports
from subclaw.testing.models import ScriptedModel, calls, words
from subclaw.tools.access import access_tools
from subclaw.tools.toolbox import BuiltInToolbox
from subclaw.turns.intake import StoreIntake


def ask(**arguments: object) -> tuple[str, str]:
    return "ask_for_access", json.dumps({"reason": "to read the weather", **arguments})


@pytest.mark.parametrize("channel", ["web", "sms"])
def test_a_key_in_a_message_is_nowhere_and_the_person_is_told_once(
    address: DatabaseAddress, channel: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def steps(scene: Scene) -> None:
        async with scene.worker():
            first = await scene.say(f"use {KEY} to clone it", id="SM1")
            assert not first.duplicate
            assert (await scene.say(f"use {KEY} to clone it", id="SM1")).duplicate
            notice, answer = await scene.until_replies(2)
        assert answer == "I wait for the key"
        assert notice.startswith("I took a GitHub token out of your message and kept nothing of it")
        link_in(notice)
        assert "use [a GitHub token was removed] to clone it\n[Nobody wrote this: a GitHub token" in scene.told()
        assert KEY not in await scene.everything()
        assert KEY not in caplog.text
        kinds = [kind for (kind,) in await scene.look("SELECT type FROM event ORDER BY seq")]
        assert kinds[:3] == ["turn.started", "message.received", "reply.queued"]
        sent = [text for (text,) in await scene.look("SELECT text FROM outbox ORDER BY id")]
        assert sent == ([] if channel == "web" else [notice, answer])
        ((requests,),) = await scene.look("SELECT count(*) FROM secret_request")
        assert requests == 1

    play(steps, address, ScriptedModel([words("I wait for the key")]), channel=channel)


def test_several_keys_have_a_link_each_and_a_message_that_is_only_a_key_is_answered(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        async with scene.worker():
            await scene.say(f"{KEY} {KEY[:-1]}Z and npm_{KEY[4:]}")
            notice, _ = await scene.until_replies(2)
            assert "a GitHub token and an npm token" in notice
            assert notice.count(f"{URL}/secret/") == 2
            await scene.say(KEY)
            assert len(await scene.until_replies(4)) == 4
        assert "[a GitHub token was removed]" in scene.told()

    play(steps, address, ScriptedModel([words("well")]))


def test_a_notice_is_kept_with_its_message_until_a_turn_takes_both(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        await scene.say(f"password: {KEY}")
        assert await scene.replies() == []
        (lease,) = await conversations.claim(scene.database, 1, 1)
        opened = await conversations.open_turn(scene.database, lease)
        assert [type(event).__name__ for event in opened.events] == ["TurnStarted", "MessageReceived", "ReplyQueued"]
        assert len(await scene.replies()) == 1
        # What is said in the middle of a turn is told of in the middle of it.
        await scene.say(f"npm_{KEY[4:]}")
        said = await conversations.append(scene.database, lease, [], drain=True)
        assert [type(event).__name__ for event in said] == ["MessageReceived", "ReplyQueued"]
        # And what is turned away is told of all the same.
        await scene.say(f"npm_{KEY[4:]}")
        await conversations.turn_away(scene.database, lease, reply="busy", send=False)
        assert [reply[:6] for reply in await scene.replies()] == ["I took", "I took", "I took", "busy"]

    play(steps, address, ScriptedModel([words("never asked")]))


def test_an_approvals_code_goes_through_as_it_is(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        async with scene.worker():
            asked = await scene.ask("the weather, please")
            assert 'ask_for_access {"host": "api.weather.test", "reason": "to read the weather"}' in asked
            assert await list_rules(scene.operator, limit=9) == ()
            assert await scene.ask(f"OK {code_in(asked)}") == "it rains"
        (kept,) = await list_rules(scene.operator, limit=9)
        assert (kept.rule.host, kept.rule.ports, kept.rule.mode) == ("api.weather.test", (443,), Mode.INSPECT)
        assert (kept.rule.scope, kept.created_by, kept.rule.comment) == (Scope.TENANT, "user", "to read the weather")
        assert "api.weather.test is allowed now" in scene.told()

    play(steps, address, ScriptedModel([calls(ask(host="api.weather.test")), words("it rains")]))


def test_what_is_declined_is_not_allowed(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        async with scene.worker():
            code = code_in(await scene.ask("the weather, please"))
            assert await scene.ask(f"NO {code}") == "as you wish"
        assert await list_rules(scene.operator, limit=9) == ()

    play(steps, address, ScriptedModel([calls(ask(host="api.weather.test")), words("as you wish")]))


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("10.0.0.1", "address"),
        ("0x7f000001", "address"),
        ("[::1]", "no host"),
        ("localhost", "full hostname"),
        ("intranet", "full hostname"),
        ("api.denied.test", "denied by a rule of the operator"),
        ("*.com/x", "no host"),
        ("API.weather.test.", "Write the host as api.weather.test."),
        ("\u0430pi.weather.test", "Write the host as xn--"),
    ],
)
def test_what_can_never_be_allowed_is_refused_at_once(address: DatabaseAddress, host: str, why: str) -> None:
    async def steps(scene: Scene) -> None:
        await scene.deny("*.denied.test")
        async with scene.worker():
            assert await scene.ask("go there") == "I cannot"
        assert why in scene.told()
        assert await scene.look("SELECT 1 FROM approval") == []

    play(steps, address, ScriptedModel([calls(ask(host=host)), words("I cannot")]))


def test_what_is_allowed_already_is_not_asked_about(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        async with scene.worker():
            code = code_in(await scene.ask("once"))
            await scene.ask(f"OK {code}")
            assert await scene.ask("again") == "twice"
            assert "allowed already" in scene.told()
        assert len(await list_rules(scene.operator, limit=9)) == 1

    model = ScriptedModel([calls(ask(host="a.test")), words("ok"), calls(ask(host="a.test")), words("twice")])
    play(steps, address, model)


def test_a_deny_that_came_meanwhile_goes_before_an_ok(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        async with scene.worker():
            code = code_in(await scene.ask("go there"))
            await scene.deny("a.test")
            await scene.ask(f"OK {code}")
        assert "denied by a rule of the operator" in scene.told()
        assert len(await list_rules(scene.operator, limit=9)) == 1

    play(steps, address, ScriptedModel([calls(ask(host="a.test")), words("I cannot")]))


@pytest.mark.parametrize(
    ("access", "words_of"),
    [(Access.OPERATOR, "The operator is asked to open a.test"), (Access.NEVER, "No host can be opened")],
)
def test_where_users_open_no_hosts_they_are_not_asked(address: DatabaseAddress, access: Access, words_of: str) -> None:
    async def steps(scene: Scene) -> None:
        async with scene.worker():
            assert await scene.ask("go there") == "I cannot"
        assert words_of in scene.told()
        assert "not open" in scene.told()
        assert await scene.look("SELECT 1 FROM approval") == []
        assert await scene.look("SELECT 1 FROM secret_request") == []

    wanted = calls(ask(host="a.test"), ask(secret="A_TOKEN", hosts=["a.test"]))
    play(steps, address, ScriptedModel([wanted, words("I cannot")]), access=access)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"secret": "A_TOKEN"}, "to which hosts"),
        ({}, "which host"),
        ({"secret": "PATH", "hosts": ["a.test"]}, "Programs go by"),
        ({"secret": "A_TOKEN", "hosts": ["127.0.0.1"]}, "address"),
        ({"secret": "A_TOKEN", "hosts": ["a.test"], "field": "host"}, "no header"),
        ({"secret": "A_TOKEN", "hosts": ["a.test"], "paths": ["nothing"]}, "slash"),
        ({"secret": "A_TOKEN", "hosts": ["a.denied.test"]}, "denied by a rule"),
        ({"secret": "A_TOKEN", "hosts": ["a.test"], "host": "a.test"}, "one at a time"),
    ],
)
def test_a_secret_that_cannot_be_is_refused_in_words(
    address: DatabaseAddress, arguments: dict[str, object], why: str
) -> None:
    async def steps(scene: Scene) -> None:
        await scene.deny("*.denied.test")
        async with scene.worker():
            assert await scene.ask("go") == "I cannot"
        assert why in scene.told()
        assert await scene.look("SELECT 1 FROM secret_request") == []

    play(steps, address, ScriptedModel([calls(ask(**arguments)), words("I cannot")]))


NAMES_OF_OTHERS = ("BASH_ENV", "HTTPS_PROXY", "NODE_OPTIONS", "PYTHONPATH", "LD_PRELOAD", "GIT_SSH_COMMAND")


def test_a_secret_is_not_called_what_programs_go_by(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        async with scene.worker():
            assert await scene.ask("go") == "I cannot"
        for name in NAMES_OF_OTHERS:
            assert f"Programs go by the environment variable {name}" in scene.told()
        assert await scene.look("SELECT 1 FROM secret_request") == []

    wanted = calls(*(ask(secret=name, hosts=["a.test"]) for name in NAMES_OF_OTHERS))
    play(steps, address, ScriptedModel([wanted, words("I cannot")]))


def test_a_request_for_approval_that_is_far_back_can_still_be_decided(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        async with scene.worker():
            code = code_in(await scene.ask("go there"))
            conversations_limit = conversations.EVENT_LIMIT
            for number in range(3):
                assert await scene.ask(f"meanwhile {number}") == "well"
            conversations.EVENT_LIMIT = 2
            try:
                assert await scene.ask(f"OK {code}") == "well"
            finally:
                conversations.EVENT_LIMIT = conversations_limit
        assert len(await list_rules(scene.operator, limit=9)) == 1

    play(steps, address, ScriptedModel([calls(ask(host="a.test")), words("well")]))


def test_a_call_that_is_made_again_after_a_crash_gives_access_once(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        receipt = await scene.say("hello")
        caller = Caller(
            tenant_id=receipt.tenant_id, conversation_id=receipt.conversation_id, call_id="call_1", turn_id="call_1"
        )
        toolbox = BuiltInToolbox(access_tools(scene.requests, access=Access.USER, public_url=URL))
        for _ in range(2):
            for name, arguments in (ask(host="a.test"), ask(secret="A_TOKEN", hosts=["b.test"])):
                result = await toolbox.perform(caller, ToolCall(id="call_1", name=name, arguments=arguments))
                assert not result.is_error
        assert len(await list_rules(scene.operator, limit=9)) == 1
        ((hashed,),) = await scene.look("SELECT token_hash FROM secret_request")
        assert hashed == token_hash(link_in(result.content).rpartition("/")[2])

    play(steps, address, ScriptedModel([words("never asked")]))


def test_a_text_message_with_a_key_leaves_none_of_it_anywhere(
    address: DatabaseAddress, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def signed(url: str, params: Mapping[str, str], signature: str) -> bool:
        return True

    async def steps(scene: Scene) -> None:
        intake = StoreIntake(scene.database, sends=lambda _: True, public_url=URL)
        reports = StoreReports(scene.database)
        scene.app.include_router(sms_router(intake=intake, reports=reports, check_signature=signed, public_url=URL))
        texted = {"From": "+15550100001", "MessageSid": "SM1", "Body": f"use {KEY}", "NumMedia": "0"}
        async with scene.browser() as browser:
            for _ in range(2):
                answer = await browser.post(WEBHOOK_PATH, data=texted, headers={"x-twilio-signature": "x"})
                assert answer.status_code == 200
            refused = await browser.post(WEBHOOK_PATH, data=texted | {"Body": KEY})
            assert refused.status_code == 403
        assert KEY not in answer.text + refused.text + caplog.text + await scene.everything()
        async with scene.worker():
            notice, _ = await scene.until_replies(2)
        link_in(notice)

    play(steps, address, ScriptedModel([words("well")]), channel="sms")


def test_links_of_a_tenant_are_few(address: DatabaseAddress) -> None:
    async def steps(scene: Scene) -> None:
        await asyncio.gather(*(scene.say(f"{KEY}{number}") for number in range(60)))
        ((count,),) = await scene.look("SELECT count(*) FROM secret_request")
        assert count == 50

    play(steps, address, ScriptedModel([words("well")]))
