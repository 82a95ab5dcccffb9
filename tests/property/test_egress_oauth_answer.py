"""Whatever a token endpoint answers is tokens, a refusal or of no use, and never an error."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subclaw.egress.oauth.answer import LONGEST_LIFE_S, Declined, Tokens, read_tokens

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
_NAMES = st.sampled_from("access_token refresh_token expires_in error ok authed_user token_type".split())
_STATUSES = st.sampled_from([200, 201, 204, 302, 400, 401, 408, 429, 500])
JSON = "application/json"


@settings(max_examples=400, deadline=None)
@given(_STATUSES, st.dictionaries(_NAMES, _VALUES))
def test_any_document(status: int, document: dict[str, object]) -> None:
    answer = read_tokens(status, JSON, json.dumps(document).encode())
    if isinstance(answer, Tokens):
        assert status < 300
        assert answer.access.reveal().isascii()
        assert answer.lives_s is None or 0 < answer.lives_s <= LONGEST_LIFE_S


@settings(max_examples=400, deadline=None)
@given(_STATUSES, st.sampled_from([JSON, "application/x-www-form-urlencoded", ""]), st.binary(max_size=100))
def test_any_bytes(status: int, media_type: str, body: bytes) -> None:
    assert not isinstance(read_tokens(status, media_type, body), Tokens) or b"access_token" in body


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, {"access_token": "a", "refresh_token": "r", "expires_in": 60}, ("a", "r", 60.0)),
        (200, {"access_token": "a", "expires_in": "3600"}, ("a", None, 3600.0)),
        (200, {"access_token": "a", "refresh_token": "", "expires_in": 0}, None),
        (200, {"access_token": "a", "expires_in": True}, ("a", None, None)),
        (200, {"ok": True, "authed_user": {"access_token": "xoxp-1"}}, ("xoxp-1", None, None)),
        (200, {"access_token": "a b"}, None),
        (200, {"access_token": "a\r\nx: y"}, None),
        (200, {"access_token": "a" * 9_000}, None),
        (204, {}, None),
        (503, {"access_token": "a"}, None),
    ],
)
def test_tokens(status: int, body: dict[str, object], expected: tuple[object, ...] | None) -> None:
    answer = read_tokens(status, JSON, json.dumps(body).encode())
    if expected is None:
        assert answer is None
    else:
        assert isinstance(answer, Tokens)
        assert (answer.access.reveal(), answer.renewal and answer.renewal.reveal(), answer.lives_s) == expected
        assert "xoxp" not in repr(answer)


@pytest.mark.parametrize(
    ("status", "media_type", "body", "code"),
    [
        (400, JSON, b'{"error": "invalid_grant", "access_token": "a"}', "invalid_grant"),
        (200, "application/x-www-form-urlencoded", b"error=bad_verification_code&error_uri=x", "bad_verification_code"),
        (200, JSON, b'{"ok": false, "error": "invalid_auth"}', "invalid_auth"),
        (401, "text/html", b"<h1>who?</h1>", ""),
        (400, JSON, b'{"error": "<script>"}', ""),
        (400, JSON, b'{"error": {"message": "no"}}', ""),
    ],
)
def test_refusals(status: int, media_type: str, body: bytes, code: str) -> None:
    assert read_tokens(status, media_type, body) == Declined(code=code)


def test_a_form() -> None:
    body = b"access_token=gho_1&scope=repo&token_type=bearer"
    answer = read_tokens(200, "application/x-www-form-urlencoded", body)
    assert isinstance(answer, Tokens)
    assert answer.access.reveal() == "gho_1"
