"""A policy in TOML: what it may say, how mistakes are told, and the list that subclaw comes with."""

from pathlib import Path

import pytest

from subclaw.core.agent import AgentEgress
from subclaw.core.errors import Invalid, NotFound
from subclaw.core.policy import Mode, Opening, Refused, Rule, Scope, decide_host, decide_request
from subclaw.egress.starter import FILE, starter_rules
from subclaw.policy_file import parse_policy, read_policy


def test_what_is_not_said_is_as_it_is() -> None:
    assert parse_policy("") == AgentEgress(rules=(), starter=True)
    assert parse_policy('[[allow]]\nhost = "a.test"').rules == (Rule(host="a.test", scope=Scope.AGENT),)


def test_what_is_said() -> None:
    found = parse_policy("""
        starter = false
        allow = [
            {host = "API.Test.", ports = [443, 8443], methods = ["get", "POST"], paths = ["/v1/*", "/{user}/x"]},
            {host = "*.up.test", mode = "splice", comment = "their client\\tpins a certificate"},
        ]
        deny = [{host = "api.test", paths = ["/v1/admin*"]}]
    """)
    first = Rule(
        host="api.test",
        ports=(443, 8443),
        methods=("GET", "POST"),
        paths=("/v1/*", "/{user}/x"),
        scope=Scope.AGENT,
    )
    second = Rule(host="*.up.test", mode=Mode.SPLICE, scope=Scope.AGENT, comment="their client pins a certificate")
    third = Rule(host="api.test", paths=("/v1/admin*",), mode=Mode.DENY, scope=Scope.AGENT)
    assert found == AgentEgress(rules=(first, second, third), starter=False)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("port = 443", "allow.0.host: Field required"),
        ('host = "localhost"', "allow.0: 'localhost' is no host for a rule: A full hostname is needed"),
        ('host = "127.0.0.1"', "That is an address; a hostname is needed"),
        ('host = "*"', "'*' is no host for a rule"),
        ('host = "*.test"', "A full hostname is needed"),
        ('host = "a.*.test"', "letters, digits and hyphens"),
        ('host = "https://a.test"', "letters, digits and hyphens"),
        ('host = "a.test"\nport = 0', "from 1 to 65535"),
        ('host = "a.test"\nport = "443"', "allow.0.port: Input should be a valid integer"),
        ('host = "a.test"\nports = []', "from 1 to 32 ports"),
        ('host = "a.test"\nport = 1\nports = [1]', "Say port or ports, not both"),
        ('host = "a.test"\nmethods = ["GET /"]', "'GET /' is no HTTP method"),
        ('host = "a.test"\npaths = ["v1"]', "The path 'v1' must begin with a slash"),
        ('host = "a.test"\npaths = ["/a%20b"]', "without escapes and without a query"),
        ('host = "a.test"\npaths = ["/a?b"]', "without escapes and without a query"),
        ('host = "a.test"\npaths = ["/a{b}"]', "a whole segment, as in /{owner}/issues"),
        ('host = "a.test"\npaths = ["/{b"]', "a whole segment"),
        ('host = "a.test"\npaths = ["/\\u0007"]', "can be printed"),
        ('host = "a.test"\nmode = "deny"', "allow.0.mode: Input should be 'inject', 'inspect' or 'splice'"),
        ('host = "a.test"\nmode = "splice"\nmethods = ["GET"]', "What is spliced is not looked into"),
        ('host = "a.test"\naddresses = ["10.0.0.1"]', "allow.0.addresses: Extra inputs are not permitted"),
    ],
)
def test_mistakes_are_told_in_words(rule: str, words: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_policy(f"[[allow]]\n{rule}")
    assert words in caught.value.public


def test_what_is_denied_has_no_mode() -> None:
    with pytest.raises(Invalid, match=r"deny\.0\.mode: Extra inputs"):
        parse_policy('[[deny]]\nhost = "a.test"\nmode = "inspect"')


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    with pytest.raises(NotFound, match="There is no file"):
        read_policy(file)
    file.write_text("allow")
    with pytest.raises(Invalid) as caught:
        read_policy(file)
    assert caught.value.public.startswith(f"{file}: This is not TOML")
    file.write_bytes(b"#" * 1_000_001)
    with pytest.raises(Invalid, match="larger than 1,000,000 bytes"):
        read_policy(file)


def starter_says(method: str, host: str, path: str, port: int = 443) -> bool:
    opening = decide_host(starter_rules(), host, port)
    return isinstance(opening, Opening) and not isinstance(decide_request(opening, method, path), Refused)


def test_the_list_is_a_policy_like_any_other() -> None:
    assert sorted(parse_policy(FILE.read_text("utf-8")).rules, key=repr) == sorted(starter_rules(), key=repr)


def test_the_list_looks_into_everything_and_stands_in_nobodys_way() -> None:
    assert {rule.mode for rule in starter_rules()} == {Mode.INSPECT}
    assert all(rule.comment for rule in starter_rules())
    with_secret = (*starter_rules(), Rule(host="github.com", mode=Mode.INJECT))
    opening = decide_host(with_secret, "github.com", 443)
    assert isinstance(opening, Opening)
    assert isinstance(decide_request(opening, "POST", "/a/b.git/git-receive-pack"), Rule)


@pytest.mark.parametrize(
    ("method", "host", "path"),
    [
        ("GET", "pypi.org", "/simple/requests/"),
        ("GET", "registry.npmjs.org", "/left-pad"),
        ("HEAD", "github.com", "/a/b/releases/download/v1/x.tar.gz"),
        ("GET", "github.com", "/a/b.git/info/refs"),
        ("POST", "github.com", "/a/b.git/git-upload-pack"),
        ("POST", "gitlab.com", "/group/sub/project.git/git-upload-pack"),
        ("POST", "codeberg.org", "/a/b/git-upload-pack"),
        ("GET", "html.duckduckgo.com", "/html/"),
        ("GET", "en.wikipedia.org", "/wiki/Crab"),
    ],
)
def test_the_list_lets_things_be_fetched(method: str, host: str, path: str) -> None:
    assert starter_says(method, host, path)


@pytest.mark.parametrize(
    ("method", "host", "path"),
    [
        ("PUT", "registry.npmjs.org", "/mine"),
        ("POST", "rubygems.org", "/api/v1/gems"),
        ("PUT", "crates.io", "/api/v1/crates/new"),
        ("POST", "upload.pypi.org", "/legacy/"),
        ("POST", "github.com", "/a/b.git/git-receive-pack"),
        ("POST", "api.github.com", "/graphql"),
        ("POST", "api.github.com", "/gists"),
        ("POST", "gitlab.com", "/api/v4/projects/1/repository/files/git-upload-pack"),
        ("POST", "codeberg.org", "/api/v1/repos/a/b/contents/git-upload-pack"),
        ("GET", "duckduckgo.com", "/iu/"),
        ("GET", "camo.githubusercontent.com", "/x"),
        ("POST", "en.wikipedia.org", "/w/api.php"),
        ("GET", "gist.github.com", "/"),
    ],
)
def test_the_list_lets_nothing_be_written(method: str, host: str, path: str) -> None:
    assert not starter_says(method, host, path)


def test_debian_packages_come_without_tls_too() -> None:
    assert starter_says("GET", "deb.debian.org", "/debian/", port=80)
    assert not starter_says("GET", "pypi.org", "/", port=80)
