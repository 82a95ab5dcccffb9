"""Keys in answers: what is replaced, what is refused, what passes."""

import itertools
import json
from typing import Any

import pytest

from subclaw.egress.http.headers import Headers
from subclaw.egress.refusal import Refusal
from subclaw.egress.seal import VALUE_LIMIT_CHARACTERS
from subclaw.egress.secrets.minted import (
    KEYS_LIMIT,
    LONGEST_LIFE_S,
    USUAL_LIFE_S,
    Kind,
    Rewritten,
    Watch,
    kind_of,
    rewrite,
    without_keys_in_addresses,
)

TOKEN = "ya29.a0AfH6SMBx7-live-token-0123456789"
GITHUB = "ghs_16C7e42F292c6912E7710c838347Ae178B4a"
JSON_TYPE: Headers = [(b"content-type", b"application/json; charset=utf-8")]


def _rewritten(body: bytes, kind: Kind = Kind.JSON, headers: Headers | None = None) -> Rewritten:
    numbers = itertools.count()
    return rewrite(kind, headers or [], body, lambda value: f"subclaw-placeholder-{next(numbers)}")


def _of(document: Any) -> Rewritten:
    return _rewritten(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("type", "kind"),
    [
        (b"application/json", Kind.JSON),
        (b"application/vnd.github+json; charset=utf-8", Kind.JSON),
        (b"application/x-amz-json-1.1", Kind.JSON),
        (b"text/json", Kind.JSON),
        (b"APPLICATION/X-WWW-FORM-URLENCODED", Kind.FORM),
        (b"text/xml", Kind.TEXT),
        (b"application/xml", Kind.TEXT),
        (b"application/soap+xml", Kind.TEXT),
        (b"text/html", Kind.TEXT),
        (b"text/plain", Kind.TEXT),
        (b"text/event-stream", None),
        (b"application/x-ndjson", None),
        (b"application/octet-stream", None),
        (b"application/x-git-upload-pack-result", None),
        (b"image/svg+xml", None),
        (b"", Kind.TEXT),
    ],
)
def test_what_an_answer_is(type: bytes, kind: Kind | None) -> None:
    assert kind_of([(b"Content-Type".lower(), type)]) is kind


def test_an_answer_of_no_type_or_of_two_is_a_text() -> None:
    assert kind_of([]) is Kind.TEXT
    assert kind_of([(b"content-type", b"image/png"), (b"content-type", b"application/json")]) is Kind.TEXT


@pytest.mark.parametrize(
    "name",
    """
    access_token accessToken ACCESS-TOKEN refresh_token id_token client_secret SecretAccessKey SessionToken api_key
    apiKey temp_clone_token authorizationToken privateKeyData
    """.split(),
)
def test_a_name_of_a_key_is_enough(name: str) -> None:
    found = _of({"a": [{"b": {name: TOKEN}}]})
    assert [each.value for each in found.minted.values()] == [TOKEN]
    (placeholder,) = found.minted
    assert json.loads(found.body) == {"a": [{"b": {name: placeholder}}]}


@pytest.mark.parametrize("name", ["token", "secret", "key", "jwt", "password", "access", "value", "client_token"])
def test_a_name_that_hints_needs_the_shape_of_a_key(name: str) -> None:
    assert [each.value for each in _of({name: GITHUB}).minted.values()] == [GITHUB]
    for other in ("bearer", "next-page-000000001", "AKIA" + "A" * 16, "SK" + "0" * 32):
        assert _of({name: other}).minted == {}


def test_tokens_in_a_list_are_replaced() -> None:
    found = _of({"access_token": [TOKEN], "tokens": [[GITHUB], [None, 1]]})
    assert [each.value for each in found.minted.values()] == [TOKEN, GITHUB]


@pytest.mark.parametrize(
    "document",
    [
        {"token_type": "bearer", "expires_in": 3600, "next_page_token": "CAUQAA0123456789"},
        {"name": GITHUB},
        {"access_token": None, "refresh_token": 12345678, "id_token": "", "api_key": "short"},
        {"access_token": "[secret]**********", "api_key": "sk-subclaw0123456789abcdef"},
        {"api_key": "****************1234", "client_secret": "not set for this app"},
        {"arguments": '{"access_token": "abcdefghijklmnop"}'},
        [],
        "access_token",
    ],
)
def test_what_is_no_key_passes_byte_by_byte(document: object) -> None:
    body = json.dumps(document, indent=3).encode()
    headers = [*JSON_TYPE, (b"digest", b"sha-256=x"), (b"content-length", b"%d" % len(body))]
    assert _rewritten(body, headers=headers) == Rewritten(headers=headers, body=body, minted={})


def test_an_empty_answer_passes() -> None:
    assert _rewritten(b"").body == b""


def test_the_value_is_nowhere_else_in_the_answer_either() -> None:
    body = json.dumps({"access_token": TOKEN, "url": f"https://api.test/?t={TOKEN}", "again": {"id_token": TOKEN}})
    headers = [*JSON_TYPE, (b"x-token", TOKEN.encode()), (b"content-length", b"1"), (b"digest", b"sha-256=x")]
    found = _rewritten(body.encode(), headers=headers)
    assert len(found.minted) == 1
    assert TOKEN.encode() not in found.body
    assert TOKEN.encode() not in b"".join(value for _, value in found.headers)
    assert (b"content-length", b"%d" % len(found.body)) in found.headers
    assert [name for name, _ in found.headers] == [b"content-type", b"x-token", b"content-length"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_json_is_read_as_others_read_it(encoding: str) -> None:
    text = '{"access\\u005ftoken": "TOKEN", "a": 1}'.replace("TOKEN", TOKEN)
    found = _rewritten(text.encode(encoding))
    assert [each.value for each in found.minted.values()] == [TOKEN]


def test_a_name_given_twice_hides_nothing() -> None:
    found = _rewritten(b'{"access_token": "%s", "access_token": 1}' % TOKEN.encode())
    assert found.body == b'{"access_token":1}'
    assert dict(found.headers) == {b"content-length": b"18"}


@pytest.mark.parametrize(
    ("said", "life_s"),
    [
        (3600, 3600.0),
        ("60", 60.0),
        (None, USUAL_LIFE_S),
        (-5, USUAL_LIFE_S),
        (1e300, LONGEST_LIFE_S),
        ("x", USUAL_LIFE_S),
        (10**400, USUAL_LIFE_S),
        (True, 1.0),
    ],
)
def test_how_long_a_key_is_kept(said: object, life_s: float) -> None:
    (minted,) = _of({"access_token": TOKEN, "expires_in": said}).minted.values()
    assert minted.lives_s == life_s


def test_a_form_is_rewritten_where_it_must_be() -> None:
    body = b"a=%41+b&access_token=" + TOKEN.replace(".", "%2E").encode() + b"&scope=x%20y&expires_in=60&flag"
    found = _rewritten(body, Kind.FORM)
    ((placeholder, minted),) = found.minted.items()
    assert (minted.value, minted.lives_s) == (TOKEN, 60.0)
    assert found.body == b"a=%41+b&access_token=" + placeholder.encode() + b"&scope=x%20y&expires_in=60&flag"
    plain = b"a=%41+b&scope=x%20y"
    assert _rewritten(plain, Kind.FORM).body == plain


STS = b"<Credentials><SessionToken>FwoGZXIvYXdzEBYaD</SessionToken></Credentials>"


@pytest.mark.parametrize(
    "body",
    [
        STS,
        b'<ns:SecretAccessKey xmlns:ns="x">\n wJalrXUtnFEMI/K7MDENG</ns:SecretAccessKey>',
        b"<access_token><![CDATA[" + TOKEN.encode() + b"]]></access_token>",
        STS.decode().encode("utf-16"),
        b'while(1);{"access_token":"%s"}' % TOKEN.encode(),
        b"{'refreshToken' : '%s'}" % TOKEN.encode(),
        b"token_type=bearer&access_token=" + TOKEN.encode(),
    ],
)
@pytest.mark.parametrize("kind", [Kind.TEXT, Kind.JSON])
def test_keys_in_what_cannot_be_rewritten_are_refused(kind: Kind, body: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        _rewritten(body, kind)
    assert caught.value.status == 502
    assert TOKEN not in caught.value.public


@pytest.mark.parametrize(
    "body",
    [
        b'<html>how to get an access_token= of your own: "access_token": "..."</html>',
        b"<SessionToken/><SecretAccessKey></SecretAccessKey>",
        b'{"access_token": {"type": "string"}}',
        b'{"text": "{\\"access_token\\": \\"abcdefghijklmnop\\"}"',
        b"a line\naccess_token=abcdefghijkl",
    ],
)
def test_texts_about_keys_pass(body: bytes) -> None:
    assert _rewritten(body, Kind.TEXT).body == body


@pytest.mark.parametrize("size", [1, 7, 64, 700])
def test_a_watch_sees_what_lies_across_pieces(size: int) -> None:
    text = b'{"items": ["%s"], "access_token": "%s"}' % (b"x" * 3_000, TOKEN.encode())
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    with pytest.raises(Refusal):
        _watch(pieces)


def test_a_watch_lets_a_form_in_the_middle_pass() -> None:
    _watch([b"log line one\n", b"access_token=abcdefghijkl\n"])


def _watch(pieces: list[bytes]) -> None:
    watch = Watch()
    for piece in pieces:
        watch.feed(piece)


def test_keys_that_nobody_could_use_are_refused() -> None:
    pem = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADAN\n-----END PRIVATE KEY-----\n"
    for document in (
        {"private_key": pem},
        {"access_token": "x" * (VALUE_LIMIT_CHARACTERS + 1)},
        [{"access_token": f"{TOKEN}{n}"} for n in range(KEYS_LIMIT + 1)],
    ):
        with pytest.raises(Refusal, match="machines are given no keys"):
            _of(document)
    assert len(_of([{"access_token": f"{TOKEN}{n}"} for n in range(KEYS_LIMIT)]).minted) == KEYS_LIMIT


def test_a_redirect_carries_no_token() -> None:
    headers = [(b"location", b"https://app.test/cb#access_token=%s&state=x" % TOKEN.encode()), (b"x", b"?id_token=a")]
    assert without_keys_in_addresses(headers) == [
        (b"location", b"https://app.test/cb#access_token=[secret]&state=x"),
        (b"x", b"?id_token=a"),
    ]
