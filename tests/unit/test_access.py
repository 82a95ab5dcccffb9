"""What a link is, what rules let a secret's hosts be, and what people and models are told of it."""

from dataclasses import replace

import pytest

from subclaw.core import key_shapes
from subclaw.core.access import (
    AccessDecided,
    SecretSet,
    is_allowed,
    is_token,
    not_allowed,
    require_open_hosts,
    require_possible,
    secret_link,
    suggestion_for,
    token_hash,
)
from subclaw.core.access_words import bound_words, decided_words, removal_notice, removed_words, set_words
from subclaw.core.agent import Access
from subclaw.core.errors import Denied
from subclaw.core.event import Event, MessageReceived, TurnStarted
from subclaw.core.history import history
from subclaw.core.model import UserSaid
from subclaw.core.policy import Mode, Rule, Scope
from subclaw.core.secret import Binding, Place
from subclaw.core.secret_words import check_secret_name, checked_binding
from subclaw.core.transcript import AskModel, next_step

GITHUB = Binding(hosts=("api.github.com", "github.com"))
OPEN = Rule(host="a.test")
DENIED = Rule(host="*.denied.test", mode=Mode.DENY)


def test_a_link_holds_a_token_and_the_store_its_hash() -> None:
    token = "a" * 43
    assert secret_link("https://claw.test/", token) == f"https://claw.test/secret/{token}"
    assert is_token(token)
    assert not any(map(is_token, ("", "a" * 42, "a" * 44, "a" * 42 + "/", "a" * 42 + "\n", "\u00e9" * 43)))
    assert len(token_hash(token)) == 32


def test_what_can_never_be_allowed() -> None:
    require_possible([OPEN], ["b.test", "*.b.test"], [443])
    for host in ("x.denied.test", "*.denied.test", "*.x.denied.test"):
        with pytest.raises(Denied, match="denied by a rule of the operator"):
            require_possible([OPEN, DENIED], [host], [443])
    require_possible([DENIED], ["x.denied.test"], [8443])
    require_possible([Rule(host="a.test", mode=Mode.DENY, methods=("DELETE",))], ["a.test"], [443])


def test_what_is_not_allowed_yet() -> None:
    binding = Binding(hosts=("a.test", "b.test", "*.c.test"))
    assert not_allowed([OPEN], binding) == ("b.test", "*.c.test")
    assert not_allowed([OPEN, Rule(host="*.c.test"), Rule(host="b.test", ports=(8443,))], binding) == ("b.test",)
    require_open_hosts([], binding, Access.USER)
    require_open_hosts([OPEN], Binding(hosts=("a.test",)), Access.OPERATOR)
    for access in (Access.OPERATOR, Access.NEVER):
        with pytest.raises(Denied, match="is not open"):
            require_open_hosts([OPEN], binding, access)


@pytest.mark.parametrize(
    ("rules", "wanted", "allowed"),
    [
        ([], OPEN, False),
        ([OPEN], OPEN, True),
        ([OPEN], Rule(host="a.test", methods=("GET",)), True),
        ([Rule(host="a.test", methods=("GET",))], OPEN, False),
        ([Rule(host="a.test", methods=("GET",))], Rule(host="a.test", methods=("GET",)), True),
        ([OPEN, Rule(host="a.test", mode=Mode.DENY, paths=("/x",))], OPEN, False),
        ([Rule(host="*.test")], OPEN, True),
        ([OPEN], Rule(host="a.test", ports=(8443,)), False),
        ([OPEN], Rule(host="*.a.test"), False),
    ],
)
def test_what_is_allowed_already(rules: list[Rule], wanted: Rule, allowed: bool) -> None:
    assert is_allowed(rules, wanted) == allowed


def test_what_is_suggested_for_a_kind_can_be() -> None:
    unknown = [key_shapes.PASSWORD, key_shapes.SECRET, key_shapes.PRIVATE_KEY, "a bearer token", "a JSON web token"]
    kinds = [*unknown, *key_shapes._SHAPES, "a Twilio auth token"]
    found = {kind: suggestion for kind in kinds if (suggestion := suggestion_for(kind))}
    assert set(kinds) - set(found) == set(unknown)
    for suggestion in found.values():
        check_secret_name(suggestion.name)
        if suggestion.binding.hosts:
            assert checked_binding(suggestion.binding) == suggestion.binding
    assert found["a GitHub token"].binding.hosts == ("api.github.com", "github.com")


@pytest.mark.parametrize(
    ("binding", "told"),
    [
        (GITHUB, "in the header authorization of requests to api.github.com and github.com"),
        (Binding(hosts=("a.test",), place=Place.BASIC, name="me"), "as the password of me of requests to a.test"),
        (Binding(hosts=("a.test",), place=Place.BASIC, name=""), "as the password of requests to a.test"),
        (Binding(hosts=("a.test",), place=Place.QUERY, name="key"), "as the parameter key of requests to a.test"),
        (
            Binding(hosts=("a.test",), place=Place.PATH, name="", methods=("GET",), paths=("/v1/*",), ports=(8443,)),
            "in the path of GET requests to a.test (port 8443), there only to /v1/*",
        ),
    ],
)
def test_where_a_secret_goes_in_words(binding: Binding, told: str) -> None:
    assert bound_words(binding) == told


def test_what_a_person_is_told_of_keys_in_a_message() -> None:
    one = removal_notice(["a GitHub token"], {"a GitHub token": "https://x.test/secret/1"})
    assert one.startswith("I took a GitHub token out of your message")
    assert one.endswith(": https://x.test/secret/1")
    links = {"a GitHub token": "https://x.test/1", "an npm token": "https://x.test/2"}
    two = removal_notice([*links, "a secret"], links)
    assert "a GitHub token, an npm token and a secret" in two
    assert two.endswith("a GitHub token: https://x.test/1; an npm token: https://x.test/2")
    assert key_shapes.find_keys(one + two) == ()


def test_what_a_model_is_told() -> None:
    events: list[Event] = [
        TurnStarted(),
        MessageReceived(text="use [a GitHub token was removed]", provider_id="1", removed=("a GitHub token",)),
        SecretSet(name="GITHUB_TOKEN", binding=GITHUB),
    ]
    assert history(events) == (
        UserSaid(text=f"use [a GitHub token was removed]\n{removed_words(['a GitHub token'])}"),
        UserSaid(text=set_words("GITHUB_TOKEN", GITHUB)),
    )
    assert "environment variable GITHUB_TOKEN" in set_words("GITHUB_TOKEN", GITHUB)


def test_a_secret_that_is_there_is_for_the_agent_to_act_on() -> None:
    assert next_step([TurnStarted(), SecretSet(name="GITHUB_TOKEN", binding=GITHUB)], 25) == AskModel()


def test_a_decision_of_the_operators_is_for_the_agent_to_act_on() -> None:
    decided = AccessDecided(
        host="a.test", ports=(443,), methods=(), paths=("/x",), approved=False, because="It is paid."
    )
    assert next_step([TurnStarted(), decided], 25) == AskModel()
    (said,) = history([TurnStarted(), decided])
    assert said == UserSaid(text=decided_words(decided))
    assert "has refused what you asked for: a.test, there only /x. They say: It is paid. Go on" in said.text
    allowed = replace(decided, ports=(443, 8443), methods=("GET", "PUT"), paths=(), approved=True, because="")
    assert "has allowed what you asked for: GET and PUT requests to a.test (port 443 or 8443)." in decided_words(
        allowed
    )


def test_the_scope_of_what_a_person_allows_is_theirs() -> None:
    assert {rule.scope for rule in GITHUB.rules(Scope.TENANT)} == {Scope.TENANT}
