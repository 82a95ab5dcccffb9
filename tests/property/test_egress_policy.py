"""Policy: what denies goes before what allows, and no rule that is added opens what a rule denies."""

from hypothesis import given, settings
from hypothesis import strategies as st

from subclaw.core.policy import Mode, Opening, Refused, Rule, Scope, decide_host, decide_request, host_matches

_HOSTS = st.sampled_from(["api.test", "a.api.test", "b.a.api.test", "evil.test", "xapi.test"])
_PATTERNS = st.sampled_from(["api.test", "*.api.test", "*.test", "evil.test", "a.api.test", "*.a.api.test"])
_METHODS = st.sampled_from(["GET", "POST", "DELETE"])
_PATHS = st.sampled_from(["/", "/admin", "/admin/x", "/public/x", "/a/b/c"])
_RULES = st.builds(
    Rule,
    host=_PATTERNS,
    ports=st.sampled_from([(443,), (80,), (80, 443)]),
    methods=st.sampled_from([(), ("GET",), ("POST", "DELETE")]),
    paths=st.sampled_from([(), ("/admin*",), ("/public/*", "/"), ("/{a}/b/*",)]),
    mode=st.sampled_from(list(Mode)),
    scope=st.sampled_from(list(Scope)),
)
_LISTS = st.lists(_RULES, max_size=6)


def allows(rules: list[Rule], host: str, port: int, method: str, path: str) -> bool:
    """Return whether a request may go out."""
    opening = decide_host(rules, host, port)
    return isinstance(opening, Opening) and not isinstance(decide_request(opening, method, path), Refused)


def denies(rules: list[Rule], host: str, port: int, method: str, path: str) -> bool:
    """Return whether some rule says no to a request."""
    return any(rule.mode is Mode.DENY and rule.covers(host, port) and rule.is_about(method, path) for rule in rules)


@given(rules=_LISTS, host=_HOSTS, port=st.sampled_from([80, 443]), method=_METHODS, path=_PATHS)
@settings(max_examples=500)
def test_what_is_allowed_is_what_a_rule_allows_and_none_denies(
    rules: list[Rule], host: str, port: int, method: str, path: str
) -> None:
    allowed = any(
        rule.mode is not Mode.DENY and rule.covers(host, port) and rule.is_about(method, path) for rule in rules
    )
    wanted = allowed and not denies(rules, host, port, method, path)
    assert allows(rules, host, port, method, path) == wanted


@given(rules=_LISTS, more=_LISTS, host=_HOSTS, port=st.sampled_from([80, 443]), method=_METHODS, path=_PATHS)
@settings(max_examples=500)
def test_no_rule_opens_what_another_denies(
    rules: list[Rule], more: list[Rule], host: str, port: int, method: str, path: str
) -> None:
    if denies(rules, host, port, method, path):
        assert not allows([*more, *rules], host, port, method, path)
        assert not allows([*rules, *more], host, port, method, path)


@given(rules=_LISTS, host=_HOSTS)
def test_the_order_of_rules_does_not_matter_to_the_mode(rules: list[Rule], host: str) -> None:
    one, other = decide_host(rules, host, 443), decide_host(rules[::-1], host, 443)
    assert type(one) is type(other)
    if isinstance(one, Opening) and isinstance(other, Opening):
        assert one.mode is other.mode
        # What passes unseen cannot be decided on request by request.
        assert one.mode is not Mode.SPLICE or not any(rule.restricted for rule in one.rules)


@given(pattern=_PATTERNS, host=_HOSTS)
def test_a_pattern_is_for_what_is_below_it(pattern: str, host: str) -> None:
    if pattern.startswith("*."):
        assert host_matches(pattern, host) == (host.endswith("." + pattern[2:]) and host != pattern[2:])
    else:
        assert host_matches(pattern, host) == (host == pattern)
