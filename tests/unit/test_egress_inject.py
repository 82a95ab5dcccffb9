"""Headers on their way out and back."""

import base64

import pytest

from subclaw.core.errors import Corrupt, Invalid
from subclaw.core.upstream import Injection, Upstream
from subclaw.egress.control.destination import destination
from subclaw.egress.control.inject import outgoing, outgoing_target
from subclaw.egress.http.headers import returned
from subclaw.egress.refusal import Refusal
from subclaw.egress.secrets.opened import Opened

SECRET = Opened("sk-live-0123456789")
BEARER = Upstream(name="a", base_url="https://api.test:8443/v1", secret="s")

CLIENTS_HEADERS = [
    (b"host", b"egress"),
    (b"authorization", b"Bearer placeholder"),
    (b"x-api-key", b"placeholder"),
    (b"x-goog-api-key", b"placeholder"),
    (b"api-key", b"placeholder"),
    (b"cookie", b"a=placeholder"),
    (b"proxy-authorization", b"Basic placeholder"),
    (b"connection", b"keep-alive, X-Hop"),
    (b"x-hop", b"1"),
    (b"keep-alive", b"timeout=5"),
    (b"te", b"trailers"),
    (b"expect", b"100-continue"),
    (b"transfer-encoding", b"chunked"),
    (b"x-http-method-override", b"DELETE"),
    (b"transfer_encoding", b"chunked"),
    (b"accept-encoding", b"gzip, br"),
    (b"content-type", b"application/json"),
    (b"user-agent", b"sdk/1"),
]


def test_bearer() -> None:
    assert outgoing(CLIENTS_HEADERS, BEARER, SECRET) == [
        (b"host", b"api.test:8443"),
        (b"content-type", b"application/json"),
        (b"user-agent", b"sdk/1"),
        (b"accept-encoding", b"identity"),
        (b"authorization", b"Bearer sk-live-0123456789"),
    ]


def test_named_header_replaces_the_clients() -> None:
    upstream = Upstream(
        name="a", base_url="https://api.test", secret="s", injection=Injection.HEADER, header="X-Custom-Key"
    )
    headers = outgoing([*CLIENTS_HEADERS, (b"x-custom-key", b"placeholder")], upstream, SECRET)
    assert [value for name, value in headers if name == b"x-custom-key"] == [b"sk-live-0123456789"]
    assert not any(b"placeholder" in value for _, value in headers)


def test_basic() -> None:
    upstream = Upstream(name="a", base_url="https://api.test", secret="s", injection=Injection.BASIC, user="AC1")
    headers = dict(outgoing(CLIENTS_HEADERS, upstream, SECRET))
    assert base64.b64decode(headers[b"authorization"].removeprefix(b"Basic ")) == b"AC1:sk-live-0123456789"


def test_without_a_secret_credentials_are_dropped_all_the_same() -> None:
    headers = outgoing(CLIENTS_HEADERS, Upstream(name="a", base_url="http://127.0.0.1:1"), None)
    assert headers == [
        (b"host", b"127.0.0.1:1"),
        (b"accept-encoding", b"gzip, br"),
        (b"content-type", b"application/json"),
        (b"user-agent", b"sdk/1"),
    ]


@pytest.mark.parametrize("value", ["two\r\nlines", "nul\0", "umlaut-ä", " spaces ", "new\n"])
def test_a_secret_that_does_not_fit_a_header_is_not_quoted(value: str) -> None:
    with pytest.raises(Corrupt) as caught:
        outgoing([], BEARER, Opened(value))
    assert value.strip() not in str(caught.value) + caught.value.public


def test_returned_headers_are_scrubbed() -> None:
    headers = [
        (b"content-length", b"3"),
        (b"connection", b"close, x-debug"),
        (b"x-debug", b"1"),
        (b"transfer-encoding", b"chunked"),
        (b"set-cookie", b"session=minted"),
        (b"location", b"https://evil.test/?k=sk-live-0123456789&x=" + b"sk-live-0123456789".hex().encode()),
    ]
    assert returned(headers, SECRET.forms, authorised=True) == [
        (b"content-length", b"3"),
        (b"location", b"https://evil.test/?k=[secret]**********&x=[secret]****************************"),
    ]
    assert (b"set-cookie", b"session=minted") in returned(headers, (), authorised=False)


def test_an_answer_that_cannot_be_searched_is_refused() -> None:
    with pytest.raises(Refusal) as caught:
        returned([(b"content-encoding", b"gzip")], SECRET.forms, authorised=True)
    assert caught.value.status == 502
    assert returned([(b"content-encoding", b"gzip")], (), authorised=False) == [(b"content-encoding", b"gzip")]


BOT = Upstream(name="a", base_url="https://api.test/v1", secret="s", injection=Injection.PATH, segment="bot{}")
TOKEN = Opened("123:AA-b_c")


def test_a_secret_in_the_path_follows_the_base_path() -> None:
    assert outgoing_target("/v1/send?x=1", BOT, TOKEN) == "/v1/bot123:AA-b_c/send?x=1"
    assert outgoing_target("/v1", BOT, TOKEN) == "/v1/bot123:AA-b_c"
    assert outgoing_target("/v1/send", BEARER, SECRET) == "/v1/send"
    assert b"123:AA" not in b"".join(value for _, value in outgoing([], BOT, TOKEN))


@pytest.mark.parametrize("value", ["a/b", "..", "", "a?b", "a#b", "a b", "a%2fb", "ä", "a\r\nb"])
def test_a_secret_that_does_not_fit_a_path_is_not_quoted(value: str) -> None:
    with pytest.raises(Corrupt) as caught:
        outgoing_target("/v1/send", BOT, Opened(value))
    assert not value or value not in caught.value.public


def test_a_secret_in_the_query_replaces_the_clients() -> None:
    upstream = Upstream(
        name="a", base_url="https://api.test", secret="s", injection=Injection.QUERY, parameter="password"
    )
    target = outgoing_target("/x?a=1&password=mine&pass%77ord=mine&b=%20", upstream, Opened("p&q =ä"))
    assert target == "/x?a=1&b=%20&password=p%26q%20%3D%C3%A4"
    assert outgoing_target("/x", upstream, Opened("p")) == "/x?password=p"


@pytest.mark.parametrize(
    "upstream",
    [
        Upstream(name="a", base_url="https://api.test", injection=Injection.PATH, segment="bot"),
        Upstream(name="a", base_url="https://api.test", injection=Injection.PATH, segment="{}/x"),
        Upstream(name="a", base_url="https://api.test", injection=Injection.QUERY),
        Upstream(name="a", base_url="https://api.test", injection=Injection.QUERY, parameter="a=b"),
    ],
)
def test_an_injection_that_lacks_its_place(upstream: Upstream) -> None:
    with pytest.raises(Invalid):
        destination(upstream)
