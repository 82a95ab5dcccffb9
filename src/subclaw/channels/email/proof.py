"""Whether a mail is from whom it says: by a DKIM signature of their domain, or by the word of the operator's front.

Anybody can write any name into `From`. A mail is believed if a signature holds that

- is by the domain in `From`, or one above it (RFC 7489, section 3.1.1; stricter: not by one below it), with RSA of 1024
  bits at least or Ed25519, over SHA-256, and by a key that is not under test;
- is over the whole body (no `l=`), and over `From`, `Date`, `Subject` and `Message-ID`: what is handed in, and what
  says that a mail is the same as another;
- is of a mail to us: where `To` is signed, it or `Cc` must name our address, so that nobody hands in what was written
  to them; and `Date` is of the last days.

SPF is not asked: it speaks of the server, which on shared ones is anybody's, and is lost where mail is forwarded.
Source: RFC 6376, RFC 8301, RFC 8463.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import Message
from email.utils import parsedate_to_datetime

import dkim  # type: ignore[import-untyped]
from dkim.util import parse_tag_value  # type: ignore[import-untyped]

from subclaw.channels.email.head import Head, same_domain
from subclaw.channels.email.settings import Front

log = logging.getLogger(__name__)
_quiet = logging.getLogger(f"{__name__}.dkim")
_quiet.setLevel(logging.CRITICAL)

SIGNATURES_LIMIT = 20
TRIED_LIMIT = 3
"""Signatures that are looked at, and those of the right domain that are checked."""

AGE_LIMIT = timedelta(days=5)
"""How old a mail may be: so long a server tries to get it here (RFC 5321, section 4.5.4.1)."""

AHEAD_LIMIT = timedelta(days=1)
_WANTED = frozenset({b"from", b"date", b"subject", b"message-id"})
_ALGORITHMS = (b"rsa-sha256", b"ed25519-sha256")
_LABEL = re.compile(rb"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?")

Texts = Callable[[str], Awaitable[Sequence[bytes]]]
"""Tells the texts that the DNS has of a name. Errors: `Unavailable`."""


@dataclass(frozen=True, kw_only=True)
class Unproven:
    """Why a mail is not believed to be from whom it says."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A signature by the right domain: which of them it is, and the name of its key."""

    index: int
    key_name: str


async def prove(content: bytes, message: Message, head: Head, our_address: str, texts: Texts) -> Unproven | None:
    """Say why a mail is not believed, or None if it is. Errors: `Unavailable` if a key cannot be looked up now."""
    if reason := _date_problem(message, datetime.now(UTC)):
        return Unproven(reason=reason)
    candidates = _candidates(message, head.domain)
    if not candidates:
        return Unproven(reason=f"it has no DKIM signature by {head.domain}")
    problem = ""
    for candidate in candidates[:TRIED_LIMIT]:
        keys = [text for text in await texts(candidate.key_name) if b"p=" in text]
        if len(keys) != 1 or _is_test(keys[0]):
            problem = f"{candidate.key_name} has no key"
            continue
        signed = await asyncio.to_thread(_signed_names, content, candidate.index, keys[0])
        if not (problem := _cover_problem(signed, head, our_address)):
            return None
    return Unproven(reason=problem)


def believe_front(message: Message, head: Head, front: Front) -> Unproven | None:
    """Say why the operator's front does not vouch for a mail, or None if it does. Source: RFC 8601.

    It puts its word above all others, and takes away what has its name and is not by it.
    """
    said = next(iter(message.get_all("authentication-results", [])), "")
    name, _, results = _bare(str(said)).partition(";")
    if name.split()[:1] != [front.name]:
        return Unproven(reason="it has no Authentication-Results by the server in front")
    for result in results.split(";"):
        found = dict(re.findall(r"([a-z0-9.-]+)\s*=\s*(\S+)", result.lower()))
        if found.get("dmarc") == "pass" and found.get("header.from") == head.domain:
            return None
        by = found.get("header.d") or found.get("header.i", "").rpartition("@")[2]
        if found.get("dkim") == "pass" and by and same_domain(head.domain, by):
            return None
    return Unproven(reason="the server in front found no signature by the sender's domain")


def _bare(header: str) -> str:
    """Return a header without comments and quoted words: in those, senders have a say."""
    kept, depth, is_quoted, is_escaped = "", 0, False, False
    for character in header:
        if is_escaped:
            is_escaped = False
        elif character == "\\":
            is_escaped = True
        elif character == '"' and not depth:
            is_quoted = not is_quoted
        elif character in "()" and not is_quoted:
            depth = max(depth + (1 if character == "(" else -1), 0)
        elif not depth and not is_quoted:
            kept += character
    return kept


def _date_problem(message: Message, now: datetime) -> str:
    try:
        at = parsedate_to_datetime(str(message.get("date", "")))
    except (ValueError, TypeError, IndexError, OverflowError):
        return "it has no proper date"
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return "" if now - AGE_LIMIT < at < now + AHEAD_LIMIT else "its date is not of these days"


def _candidates(message: Message, domain: str) -> list[_Candidate]:
    found = []
    for index, header in enumerate(message.get_all("dkim-signature", [])[:SIGNATURES_LIMIT]):
        try:
            fields = parse_tag_value(str(header).encode("ascii", "replace"))
        except dkim.DKIMException:
            continue
        by, selector = fields.get(b"d", b""), fields.get(b"s", b"")
        if not (_LABEL.fullmatch(by) and _LABEL.fullmatch(selector)):
            continue
        if same_domain(domain, by.decode().lower()) and b"l" not in fields and fields.get(b"a") in _ALGORITHMS:
            found.append(_Candidate(index=index, key_name=f"{selector.decode()}._domainkey.{by.decode()}"))
    return found


def _is_test(key: bytes) -> bool:
    """Say whether a domain only tries signing: then its signatures mean nothing (RFC 6376, section 3.6.1)."""
    flags = re.search(rb"(?:^|;)\s*t\s*=\s*([^;]*)", key)
    return flags is not None and b"y" in [flag.strip() for flag in flags[1].split(b":")]


def _signed_names(content: bytes, index: int, key: bytes) -> frozenset[bytes]:
    """Return the headers that a signature covers; none if it does not hold. In a thread: it may take long."""
    try:
        signed = dkim.DKIM(content, logger=_quiet)
        holds = signed.verify(index, dnsfunc=lambda name, timeout: key)
        return frozenset(signed.include_headers) if holds else frozenset()
    except Exception as error:  # the library raises what it comes upon in a text that anybody may have written
        log.info("a signature was not understood: %s", type(error).__name__)
        return frozenset()


def _cover_problem(signed: frozenset[bytes], head: Head, our_address: str) -> str:
    if not signed:
        return f"its DKIM signature by {head.domain} does not hold"
    if missing := _WANTED - signed:
        return f"its DKIM signature leaves out {b', '.join(sorted(missing)).decode()}"
    if b"to" in signed and our_address not in head.named:
        return "it was not written to this address"
    return ""
