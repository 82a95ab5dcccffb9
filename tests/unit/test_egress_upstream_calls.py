"""Decisions on requests, and what counts as an upstream."""

import pytest

from subclaw.core.errors import Invalid
from subclaw.core.upstream import Allowed, Injection, Refused, Upstream
from subclaw.egress.control.destination import destination
from subclaw.egress.control.upstream_calls import decide

OPENAI = Upstream(name="openai", base_url="https://api.openai.test/base/", secret="openai_key")
LOCAL = Upstream(name="local", base_url="http://127.0.0.1:8080", methods=("GET",))
UPSTREAMS = {"openai": OPENAI, "local": LOCAL}


@pytest.mark.parametrize(
    ("method", "target", "url_path"),
    [
        ("POST", "/openai/v1/chat/completions", "/base/v1/chat/completions"),
        ("POST", "/openai/v1/models/m:generateContent?alt=sse", "/base/v1/models/m:generateContent?alt=sse"),
        ("GET", "/openai/v1/models/", "/base/v1/models/"),
        ("GET", "/openai", "/base"),
        ("GET", "/openai?q=../..//%2e", "/base?q=../..//%2e"),
        ("GET", "/openai/caf%c3%a9%20", "/base/caf%C3%A9%20"),
        ("GET", "/openai/%41.%7e", "/base/A.~"),
        ("GET", "/openai/...", "/base/..."),
        ("GET", "/local", "/"),
        ("GET", "/local/", "/"),
        ("GET", "/local/a", "/a"),
    ],
)
def test_allowed_targets_are_canonical(method: str, target: str, url_path: str) -> None:
    decision = decide(UPSTREAMS, method, target)
    assert isinstance(decision, Allowed)
    assert decision.url_path == url_path


@pytest.mark.parametrize(
    "target",
    [
        "",
        "/",
        "*",
        "openai/v1",
        "//openai/v1",
        "/openai//v1",
        "/openai/./v1",
        "/openai/../local",
        "/openai/v1/..",
        "/openai/v1/..;/admin",
        "/openai/%2e%2e/admin",
        "/openai/.%2E/admin",
        "/openai/a%2eb",
        "/openai/a%2fb",
        "/openai/a%5Cb",
        "/openai/a\\b",
        "/openai/%252e%252e/admin",
        "/openai/%00",
        "/openai/\x00",
        "/openai/%0d%0aHost:evil",
        "/openai/%c0%ae%c0%ae/",
        "/openai/%E2%80%8B",
        "/openai/%",
        "/openai/%zz",
        "/openai/v1#fragment",
        "/openai/v1?a#b",
        "/openai/v1?%z",
        "/openai/v1?a b",
        "/openai/café",
        "/%6fpenai2/v1",
        "/OpenAI/v1",
        "/evil/v1",
        "/-/verify/twilio",
        "https://evil.test/openai/v1",
        "evil.test:443",
        "/openai/" + "a" * 9_000,
    ],
)
def test_targets_without_a_single_meaning_are_refused(target: str) -> None:
    decision = decide(UPSTREAMS, "GET", target)
    assert isinstance(decision, Refused)
    assert "evil" not in decision.reason


@pytest.mark.parametrize("method", ["DELETE", "TRACE", "CONNECT", "get", "POST "])
def test_other_methods_are_refused(method: str) -> None:
    assert isinstance(decide(UPSTREAMS, method, "/openai/v1"), Refused)
    assert isinstance(decide(UPSTREAMS, "POST", "/local/v1"), Refused)


@pytest.mark.parametrize(
    "upstream",
    [
        Upstream(name="-", base_url="https://a.test"),
        Upstream(name="", base_url="https://a.test"),
        Upstream(name="a", base_url="ftp://a.test"),
        Upstream(name="a", base_url="https://user:pass@a.test"),
        Upstream(name="a", base_url="https://a.test/?q"),
        Upstream(name="a", base_url="https://a.test/../b"),
        Upstream(name="a", base_url="https://a.test/%2e"),
        Upstream(name="a", base_url="https://"),
        Upstream(name="a", base_url="https://a.test:0"),
        Upstream(name="a", base_url="https://a.test:99999"),
        Upstream(name="a", base_url="https://a test"),
        Upstream(name="a", base_url="http://a.test", secret="s"),
        Upstream(name="a", base_url="http://169.254.169.254", secret="s"),
        Upstream(name="a", base_url="https://a.test", secret="s", injection=Injection.HEADER),
        Upstream(name="a", base_url="https://a.test", secret="s", injection=Injection.HEADER, header="Host"),
        Upstream(name="a", base_url="https://a.test", secret="s", injection=Injection.HEADER, header="x\r\ny"),
        Upstream(name="a", base_url="https://a.test", secret="s", injection=Injection.BASIC),
        Upstream(name="a", base_url="https://a.test", secret="s", injection=Injection.BASIC, user="a:b"),
    ],
)
def test_unusable_upstreams_are_refused_at_the_start(upstream: Upstream) -> None:
    with pytest.raises(Invalid):
        destination(upstream)


def test_a_secret_may_go_in_the_clear_to_this_host_only() -> None:
    found = destination(Upstream(name="a", base_url="http://[::1]:81/v1/", secret="s"))
    assert (found.host, found.port, found.authority, found.base_path) == ("::1", 81, "[::1]:81", "/v1")
    assert destination(Upstream(name="a", base_url="http://model.test")).authority == "model.test"
