"""Canaries, in the encodings in which they are found."""

import base64
import json
import re
from collections.abc import Callable
from urllib.parse import quote

import pytest

from subclaw.core.canary import Canaries, Canary, CanaryKind

CANARIES = Canaries("qwertzuiopasdfgh")
CANARY = Canary(customer=42, kind=CanaryKind.BINDING)
TEXT = CANARIES.text(CANARY)

ENCODED: dict[str, Callable[[str], str]] = {
    "plain": str,
    "capitals": str.upper,
    "reversed": lambda text: text[::-1],
    "hex": lambda text: text.encode().hex(),
    "odd hex": lambda text: f"a{text.encode().hex()}",
    "bytea": lambda text: f"\\x{text.encode().hex().upper()}",
    "percent": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "url": quote,
    "json": json.dumps,
    "escaped": lambda text: "".join(f"\\u{ord(each):04x}" for each in text),
    "escaped twice": lambda text: json.dumps("".join(f"\\u{ord(each):04X}" for each in text)),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 for urls": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
}


@pytest.mark.parametrize("before", ["", "x", "yz", "the word "])
@pytest.mark.parametrize("encoding", ENCODED)
def test_a_canary_is_found_in_every_encoding(encoding: str, before: str) -> None:
    shown = f"prefix {ENCODED[encoding](f'{before}{TEXT} and more')} suffix"
    assert CANARIES.found(shown) == {CANARY}
    assert re.search(CANARIES.pattern(), shown, re.IGNORECASE)


def test_all_canaries_of_a_text_are_found() -> None:
    other = Canary(customer=7, kind=CanaryKind.SECRET)
    assert CANARIES.found(f"{TEXT} {CANARIES.text(other)[::-1]}") == {CANARY, other}


def test_what_is_cut_off_is_found_without_its_name() -> None:
    assert CANARIES.found(TEXT[:-2]) == {None}


@pytest.mark.parametrize("text", ["", "qwertzuiop", "nothing of the kind", "0042b"])
def test_other_texts_hold_none(text: str) -> None:
    assert CANARIES.found(text) == frozenset()


def test_each_kind_has_a_canary_of_its_own() -> None:
    texts = {CANARIES.text(Canary(customer=1, kind=kind)) for kind in CanaryKind}
    assert len(texts) == len(CanaryKind)
