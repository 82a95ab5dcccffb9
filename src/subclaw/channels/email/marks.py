"""Marks of ours on mail that goes out: by them a bounce or a complaint names the reply that it is about.

They stand in the Message-ID and in the address that is told of failures, and are the same at every try. Only those who
got the mail know its mark, and nobody can make one.
"""

import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from subclaw.core.tenant import TenantId

_MAC_CHARACTERS = 20
_MARK = re.compile(r"([0-9]{1,18})\.([0-9]{1,18})\.([0-9]{1,9})\.([0-9a-f]{20})")

Secret = Callable[[], Awaitable[str]]
"""Tells the secret by which marks are made. Errors: `Unavailable`."""


@dataclass(frozen=True, kw_only=True)
class Marked:
    """What a mark names: a part of a reply."""

    tenant_id: TenantId
    reply_id: int
    part: int


def make_mark(secret: str, marked: Marked) -> str:
    """Return the mark of a part."""
    named = f"{marked.tenant_id}.{marked.reply_id}.{marked.part}"
    return f"{named}.{_mac(secret, named)}"


def read_mark(secret: str, mark: str) -> Marked | None:
    """Return what a mark names; None if it is none of ours."""
    found = _MARK.fullmatch(mark)
    if not found or not hmac.compare_digest(_mac(secret, mark.rpartition(".")[0]), found[4]):
        return None
    return Marked(tenant_id=TenantId(int(found[1])), reply_id=int(found[2]), part=int(found[3]))


def marks_in(content: bytes, domain: str) -> list[str]:
    """Return what looks like marks in Message-IDs of ours, in the order in which they stand."""
    pattern = rf"<({_MARK.pattern})@{re.escape(domain)}>"
    return [found[1].decode() for found in re.finditer(pattern.encode(), content)]


def _mac(secret: str, named: str) -> str:
    return hmac.new(secret.encode(), f"mail {named}".encode(), hashlib.sha256).hexdigest()[:_MAC_CHARACTERS]
