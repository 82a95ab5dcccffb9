"""An approval: a person's yes or no to one tool call, bound to its exact arguments. Its events, and its words.

What is shown to the person, what the digest is of and what is performed are the same text: the arguments as they were
parsed, written anew. So nothing in how a model wrote them can tell the three apart.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase

from subclaw.core.errors import Corrupt, Invalid
from subclaw.core.tenant import Chooser
from subclaw.core.tool import ToolCall

OPEN_LIMIT = 8
"""Most requests of one conversation that may wait at a time: more than that nobody keeps apart."""

WRONG_CODE_LIMIT = 5
"""How many wrong codes withdraw what was asked for."""

ARGUMENTS_LIMIT_CHARACTERS = 16_000
"""Longest arguments of a call that a person is asked about."""

SHOWN_CHARACTERS = 500
"""How much of a call a person is shown."""


@dataclass(frozen=True, kw_only=True)
class ApprovalRequested:
    """A call was not performed, since a person has to say yes first; the turn that made it ends.

    `call` is the model's, its arguments in canonical form, and `arguments_digest` is of these. Once it is approved, it
    is performed as a call of its own, which `approval_id` names. `approver` is who may decide, `expires_at` until when.
    """

    approval_id: str
    call: ToolCall
    arguments_digest: str
    code: str
    approver: str
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class ApprovalDecided:
    """The approver said yes or no, in the message `provider_id`. Each request is decided at most once."""

    request: ApprovalRequested
    approved: bool
    by: str
    provider_id: str


class LapseReason(StrEnum):
    """Why a request can be decided no more."""

    EXPIRED = "expired"
    VOID = "void"


@dataclass(frozen=True, kw_only=True)
class ApprovalLapsed:
    """A request ended with nobody's decision: its time was over, or there were too many wrong codes."""

    request: ApprovalRequested
    reason: LapseReason


@dataclass(frozen=True, kw_only=True)
class DecisionRefused:
    """The message `provider_id` would have decided something, and could not; `public` says why, for the person."""

    provider_id: str
    public: str
    wrong_code: bool


ApprovalEvent = ApprovalRequested | ApprovalDecided | ApprovalLapsed | DecisionRefused


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a message says: yes or no to a code."""

    code: str
    approves: bool


_DECISION = re.compile(r"\s*(ok|no)\s*([0-9]{4})\s*", re.IGNORECASE)
_DECISION_LIMIT_CHARACTERS = 40


def parse_decision(text: str) -> Decision | None:
    """Return what a message decides, if it says "OK 4821" or "NO 4821" and nothing else.

    Case, spaces and punctuation are forgiven, and digits of any script; a question mark is not, nor any other word.
    """
    if len(text) > _DECISION_LIMIT_CHARACTERS:
        return None
    found = _DECISION.fullmatch("".join(map(_plain, unicodedata.normalize("NFKC", text))))
    return Decision(code=found[2], approves=found[1].lower() == "ok") if found else None


def needs_approval(patterns: Iterable[str], tool: str) -> bool:
    """Return whether one of the operator's patterns (`publish_site`, `mail_*`) is of this tool."""
    return any(fnmatchcase(tool, pattern) for pattern in patterns)


def canonical_arguments(arguments: str) -> str:
    """Return arguments as they are shown, digested and performed: parsed, and written with sorted keys, in ASCII.

    Errors: `Invalid`, in words for the model, if they are not JSON or too long.
    """
    try:
        canonical = json.dumps(json.loads(arguments or "{}"), sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError) as error:  # the latter for what is nested too deeply
        raise Invalid("The arguments were not JSON.") from error
    if len(canonical) > ARGUMENTS_LIMIT_CHARACTERS:
        raise Invalid(
            f"A person must approve this, so its arguments may have {ARGUMENTS_LIMIT_CHARACTERS:,} characters, not"
            f" {len(canonical):,}. Make them shorter."
        )
    return canonical


def digest(arguments: str) -> str:
    """Return the SHA-256 of canonical arguments, in hexadecimal."""
    return hashlib.sha256(arguments.encode()).hexdigest()


def choose_code(taken: Collection[str], chooser: Chooser) -> str:
    """Return a code of four digits that is none of those taken. `chooser` must not be guessable."""
    return chooser.choice([code for code in map(str, range(1000, 10_000)) if code not in taken])


def expiry(now: datetime, expires_s: int) -> datetime:
    """Return when a request of now expires, on the full minute, as it is told."""
    end = now.astimezone(UTC) + timedelta(seconds=expires_s + 59)
    return end.replace(second=0, microsecond=0)


def approved_call(request: ApprovalRequested) -> ToolCall:
    """Return the call to perform now that it is approved: what was shown. Errors: `Corrupt` if it is not."""
    if digest(request.call.arguments) != request.arguments_digest:
        raise Corrupt("This approval cannot be read.", internal=f"approval {request.approval_id}: digest differs")
    return replace(request.call, id=request.approval_id)


CUSTOMERS_PREFIX = "api:"
"""What the names of messages begin with that a business's customer said: they decide nothing."""

ASKED_OF_OWNER = "That needs somebody's approval first. I have asked for it, and go on as soon as I have an answer."


def ask_words(requests: Sequence[ApprovalRequested]) -> str:
    """Return what the person is asked. The last line of each request is ours, whatever its arguments hold."""
    return "\n\n".join(
        f"I need your OK before I do this: {show_call(request.call)}\n"
        f"Reply OK {request.code} or NO {request.code} (by {_time(request)})."
        for request in requests
    )


def show_call(call: ToolCall) -> str:
    """Return a call in one line, as a person reads it.

    What cannot be seen is written out, and of much the middle is left out, with how much that is.
    """
    arguments = json.dumps(json.loads(call.arguments), sort_keys=True, ensure_ascii=False)
    line = re.sub(" {3,}", _say_spaces, "".join(map(_visible, f"{call.name} {arguments}")))
    if len(line) <= SHOWN_CHARACTERS:
        return line
    half = SHOWN_CHARACTERS // 2
    return f"{line[:half]} [… {len(line) - 2 * half:,} characters not shown …] {line[-half:]}"


def waiting_words(request: ApprovalRequested) -> str:
    """Return the result of a call that waits, for the model."""
    code = request.code
    return (
        f"Waiting for a person's approval, code {code}, until {_time(request)}; it has not been done. The person was"
        f" asked, and decides with OK {code} or NO {code}; you will be told. Do not call it again."
    )


def declined_words(request: ApprovalRequested) -> str:
    """Return what the model is told after a no."""
    return f"[The person declined {request.call.name}, code {request.code}: it has not been done. Go on without it.]"


def lapsed_words(lapsed: ApprovalLapsed) -> str:
    """Return what the model is told of a request that nobody decided."""
    why = "has expired" if lapsed.reason is LapseReason.EXPIRED else "was withdrawn"
    request = lapsed.request
    return f"[Nobody wrote. The request {request.code} for {request.call.name} {why}: it has not been done.]"


def expired_words(request: ApprovalRequested) -> str:
    """Return what the person is told of a request that has expired."""
    name = "".join(map(_visible, request.call.name))
    return f"My request {request.code} ({name}) has expired, and nothing was done. Tell me if you still want it."


def _time(request: ApprovalRequested) -> str:
    return f"{request.expires_at.astimezone(UTC):%H:%M} UTC"


_QUESTION_MARKS = "?\u00bf\u061f"


def _plain(character: str) -> str:
    """Return a digit of any script as one of ours, a space for what is forgiven, nothing for what cannot be seen."""
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category == "Cf":
        return ""
    return " " if category[0] == "P" and character not in _QUESTION_MARKS else character


_BLANK_LETTERS = "\u115f\u1160\u2800\u3164\uffa0"
"""Characters that count as letters or symbols, and look like spaces."""


def _visible(character: str) -> str:
    """Return a character as it is if it can be seen for what it is, otherwise its escape in JSON."""
    seen = unicodedata.category(character)[0] in "LMNPS" and character not in _BLANK_LETTERS
    return character if seen or character == " " else json.dumps(character)[1:-1]


def _say_spaces(found: re.Match[str]) -> str:
    return f" [{len(found[0])} spaces] "
