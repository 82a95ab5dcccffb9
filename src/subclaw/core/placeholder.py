"""Placeholders: what machines have in place of secrets. They look like the values, so that programs take them."""

import re
from collections.abc import Sequence
from math import ceil, log2
from string import ascii_lowercase, ascii_uppercase, digits
from typing import Protocol

MARKER = "subclaw"
"""What a placeholder holds after its prefix, in small letters or in capitals, so that people and programs know it."""

RANDOM_BITS = 80
"""Least randomness: nobody guesses the placeholder of another secret."""

_PREFIXES = (
    *("github_pat_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "glpat-", "sk-ant-", "sk-proj-", "sk-", "xoxb-", "xoxp-"),
    *("xoxa-", "xapp-", "AKIA", "ASIA", "npm_", "pypi-", "SG.", "hf_", "AIza", "rk_live_", "sk_live_", "pk_live_"),
    *("rk_test_", "sk_test_", "pk_test_", "whsec_"),
)
"""Beginnings that say whose key it is, and nothing of the key; longer ones go before those that they begin with."""

_PREFIX_LIMIT_CHARACTERS = 8
_LEAST_REST_CHARACTERS = 20
_OTHER_PREFIX = re.compile(rf"[A-Za-z][A-Za-z0-9]{{0,{_PREFIX_LIMIT_CHARACTERS - 2}}}[_-]")


class Chooser(Protocol):
    """A source of choices that cannot be foretold, such as `random.SystemRandom()`."""

    def choice(self, options: Sequence[str], /) -> str:
        """Return one of the options."""
        ...


def placeholder_for(value: str, chooser: Chooser) -> str:
    """Return a new placeholder for a secret: as long as its value, of letters of the same cases, with its prefix.

    The placeholder of a short value is longer than that. It consists of letters, digits and `_`, `-`, `.` alone, and
    nothing of the value is in it but a prefix: a known one, or what a long value has up to its first `_` or `-`.
    """
    prefix = _prefix(value)
    rest = value[len(prefix) :]
    if not any(map(str.islower, rest)):
        marker, letters = MARKER.upper(), ascii_uppercase
    elif not any(map(str.isupper, rest)):
        marker, letters = MARKER, ascii_lowercase
    else:
        marker, letters = MARKER, ascii_lowercase + ascii_uppercase
    alphabet = letters + digits
    least = ceil(RANDOM_BITS / log2(len(alphabet)))
    count = max(least, len(value) - len(prefix) - len(marker))
    return prefix + marker + "".join(chooser.choice(alphabet) for _ in range(count))


def _prefix(value: str) -> str:
    for known in _PREFIXES:
        if value.startswith(known):
            return known
    found = _OTHER_PREFIX.match(value)
    return found[0] if found and len(value) - found.end() >= _LEAST_REST_CHARACTERS else ""
