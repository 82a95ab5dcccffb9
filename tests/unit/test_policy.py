"""Egress policy: what is denied, what is opened, and what may be asked."""

import pytest

from subclaw.core.policy import Mode, Opening, Refused, Rule, Scope, decide_host, decide_request, host_matches
from subclaw.core.secret import Binding, Place, label


def opened(*rules: Rule, host: str = "api.test", port: int = 443) -> Opening:
    found = decide_host(rules, host, port)
    assert isinstance(found, Opening)
    return found


def reason(found: object) -> str:
    assert isinstance(found, Refused)
    return found.reason


def test_what_no_rule_is_about_is_denied() -> None:
    rules = [Rule(host="api.test")]
    assert reason(decide_host(rules, "evil.test", 443)) == "evil.test is not on the list of hosts that may be reached"
    assert reason(decide_host(rules, "api.test", 80)).startswith("api.test:80 is not")
    assert reason(decide_host((), "api.test", 443))


@pytest.mark.parametrize(
    ("pattern", "host", "matches"),
    [
        ("api.test", "api.test", True),
        ("api.test", "x.api.test", False),
        ("*.api.test", "x.api.test", True),
        ("*.api.test", "y.x.api.test", True),
        ("*.api.test", "api.test", False),
        ("*.api.test", "evilapi.test", False),
        ("api.test", "api.test.evil.test", False),
    ],
)
def test_a_pattern_matches_whole_labels(pattern: str, host: str, matches: bool) -> None:
    assert host_matches(pattern, host) is matches


def test_a_denial_goes_before_all_that_allows_whoever_made_it() -> None:
    for scope in Scope:
        rules = [Rule(host="api.test", mode=Mode.INJECT), Rule(host="*.test", mode=Mode.DENY, scope=scope)]
        assert reason(decide_host(rules, "api.test", 443)) == f"api.test is denied by a rule of the {scope.value}"


@pytest.mark.parametrize(
    ("modes", "mode"),
    [
        ((Mode.SPLICE,), Mode.SPLICE),
        ((Mode.SPLICE, Mode.INSPECT), Mode.INSPECT),
        ((Mode.SPLICE, Mode.INJECT), Mode.INJECT),
        ((Mode.INSPECT, Mode.INJECT), Mode.INJECT),
    ],
)
def test_the_mode_that_sees_the_most_holds(modes: tuple[Mode, ...], mode: Mode) -> None:
    assert opened(*(Rule(host="api.test", mode=each) for each in modes)).mode is mode


def test_a_host_is_never_spliced_past_a_rule_about_some_requests() -> None:
    rules = (Rule(host="api.test", mode=Mode.SPLICE), Rule(host="api.test", paths=("/admin*",), mode=Mode.DENY))
    assert opened(*rules).mode is Mode.INSPECT


def test_requests_are_decided_by_method_and_path() -> None:
    opening = opened(
        Rule(host="api.test", methods=("GET",)),
        Rule(host="api.test", methods=("POST",), paths=("/repos/*/issues",), mode=Mode.INJECT),
        Rule(host="api.test", paths=("/admin", "/admin/*"), mode=Mode.DENY),
    )
    assert isinstance(decide_request(opening, "GET", "/anything"), Rule)
    allowed = decide_request(opening, "POST", "/repos/a/b/issues")
    assert isinstance(allowed, Rule)
    assert allowed.mode is Mode.INJECT
    assert "not among what may be asked" in reason(decide_request(opening, "POST", "/repos"))
    assert "denied" in reason(decide_request(opening, "GET", "/admin/users"))
    assert isinstance(decide_request(opening, "GET", "/administration"), Rule)
    assert isinstance(decide_request(opening, "DELETE", "/repos/a"), Refused)


def test_a_path_pattern_is_no_regular_expression() -> None:
    opening = opened(Rule(host="api.test", paths=("/a.b/*",)))
    assert isinstance(decide_request(opening, "GET", "/a.b/c\nd"), Rule)
    assert isinstance(decide_request(opening, "GET", "/aXb/c"), Refused)


def test_only_an_operator_says_where_a_host_is() -> None:
    assert opened(Rule(host="api.test", addresses=("10.0.0.1",))).addresses == ("10.0.0.1",)
    assert opened(Rule(host="api.test", addresses=("10.0.0.1",), scope=Scope.TENANT)).addresses == ()


def test_a_secret_lets_machines_reach_what_it_is_for() -> None:
    binding = Binding(hosts=("api.test", "*.up.test"), methods=("POST",), paths=("/v1/*",))
    opening = opened(*binding.rules(Scope.TENANT))
    assert opening.mode is Mode.INJECT
    assert isinstance(decide_request(opening, "POST", "/v1/x"), Rule)
    assert isinstance(decide_request(opening, "GET", "/v1/x"), Refused)
    assert opened(*binding.rules(Scope.TENANT), host="a.up.test")


def test_a_label_tells_apart_all_that_a_seal_is_bound_to() -> None:
    binding = Binding(hosts=("api.test",))
    labels = {
        label("A", Scope.OPERATOR, None, "p", binding),
        label("B", Scope.OPERATOR, None, "p", binding),
        label("A", Scope.AGENT, None, "p", binding),
        label("A", Scope.OPERATOR, None, "q", binding),
        label("A", Scope.OPERATOR, None, "p", Binding(hosts=("evil.test",))),
        label("A", Scope.OPERATOR, None, "p", Binding(hosts=("api.test",), place=Place.BASIC)),
        label("A", Scope.OPERATOR, None, "p", Binding(hosts=("api.test",), plain=True)),
    }
    assert len(labels) == 7
