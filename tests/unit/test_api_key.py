"""API keys and the session tokens that are signed with them: pure."""

from datetime import UTC, datetime

import pytest

from subclaw.core.api_key import KEY_BYTES, Principal, Scope, key_hash, new_key, read_scopes, signing_key
from subclaw.core.errors import Denied, Invalid
from subclaw.core.session_token import SessionToken, is_signed, read_token, sign_token

KEY = new_key(bytes(KEY_BYTES))
TOKEN = SessionToken(key_id=7, session="ses_x", expires_at=datetime(2026, 11, 22, 7, 0, tzinfo=UTC))


def test_a_key_is_long_and_says_what_it_is() -> None:
    assert KEY == "sck_" + 43 * "A"
    assert len(key_hash(KEY)) == 32


def test_what_signs_tokens_follows_from_the_key_and_is_not_its_hash() -> None:
    signs = signing_key(KEY)
    assert signs == signing_key(KEY)
    assert signs != signing_key(KEY + "A")
    assert bytes(signs) != key_hash(KEY)


def test_a_token_says_what_was_signed() -> None:
    read = read_token(sign_token(TOKEN, KEY))
    assert read is not None
    token, content, signature = read
    assert token == TOKEN
    assert is_signed(content, signature, bytes(signing_key(KEY).verify_key))
    assert not is_signed(content + b" ", signature, bytes(signing_key(KEY).verify_key))
    assert not is_signed(content, signature, bytes(signing_key("sck_other").verify_key))


@pytest.mark.parametrize(
    "text", ["", "sct_", "sct_.", "sct_e30.AAAA", "sct_eyJrIjoxfQ.AAAA", "sct_ö.ö", "sck_e30.AAAA", "sct_" + "A" * 2000]
)
def test_what_is_no_token_is_none(text: str) -> None:
    assert read_token(text) is None


def test_scopes_are_read_by_name() -> None:
    assert read_scopes(["agents:read"]) == {Scope.AGENTS_READ}
    assert read_scopes(["*"]) == set(Scope)
    with pytest.raises(Invalid, match="sessions:write"):
        read_scopes(["everything"])


def test_a_principal_may_what_its_key_says() -> None:
    principal = Principal(key_id=1, scopes=frozenset({Scope.AGENTS_READ}), agents=frozenset({"support"}))
    principal.require(Scope.AGENTS_READ)
    with pytest.raises(Denied, match="customers:write"):
        principal.require(Scope.CUSTOMERS_WRITE)
    assert principal.sees("support")
    assert not principal.sees("sales")
