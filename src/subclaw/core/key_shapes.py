"""Key shapes: what in a message looks like a key or a password, so that it can be taken out before it is stored.

Providers give their keys shapes of their own, so that they are found where they do not belong; the shapes here are
theirs. What has no shape is taken for a secret only where the words before it say so, and only if it looks made up.
Everything else stays: what was taken out of a message by mistake is lost. No pattern goes through a part of a text more
than a bounded number of times, whatever the text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from subclaw.core.placeholder import MARKER

PASSWORD = "a password"
SECRET = "a secret"
PRIVATE_KEY = "a private key"


@dataclass(frozen=True, kw_only=True)
class Found:
    """A key in a text: from `start` up to `end`. `kind` says in words what it is, such as "a GitHub token"."""

    kind: str
    start: int
    end: int


def find_keys(text: str) -> tuple[Found, ...]:
    """Return what looks like a key, in order; none overlaps another. Placeholders of ours are none."""
    apart: list[Found] = []
    for one in sorted(_candidates(text), key=lambda found: found.start):
        if MARKER in text[one.start : one.end].lower():
            continue
        if apart and one.start < apart[-1].end:
            last = apart.pop()
            kind = one.kind if last.kind in _VAGUE else last.kind
            apart.append(Found(kind=kind, start=last.start, end=max(last.end, one.end)))
        else:
            apart.append(one)
    return tuple(apart)


def kinds_by_shape(text: str) -> Iterator[str]:
    """Yield the kind of each key in a text that has a shape, and of private keys: quick, and never guessed."""
    for shape in _SHAPE.finditer(text):
        if MARKER not in shape[0].lower():
            yield _KINDS[shape.lastgroup or ""]
    for _ in _private_keys(text):
        yield PRIVATE_KEY


def redact(text: str) -> tuple[str, tuple[str, ...]]:
    """Return a text without its keys, and the kinds of those that were removed, each once.

    In the place of each stands what it was, such as `[a GitHub token was removed]`.
    """
    pieces: list[str] = []
    kinds: dict[str, None] = {}
    end = 0
    for found in find_keys(text):
        pieces += text[end : found.start], f"[{found.kind} was removed]"
        kinds[found.kind] = None
        end = found.end
    return "".join([*pieces, text[end:]]), tuple(kinds)


def kind_of_key(text: str) -> str | None:
    """Return what kind of key a text is by its shape, if it is one and nothing else."""
    found = _SHAPE.fullmatch(text)
    return _KINDS[found.lastgroup or ""] if found else None


_SHAPES = {
    "a GitHub token": r"gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{40,}",
    "a GitLab token": r"gl(?:pat|dt|rt|cbt|ptt|ft|soat)-[A-Za-z0-9_-]{20,}(?:\.[0-9a-z]{2}\.[0-9a-z]{9})?",
    "an Anthropic API key": r"sk-ant-[A-Za-z0-9_-]{20,}",
    "an OpenAI API key": r"sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{20,}|sk-[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}",
    "an API key": r"sk-(?:[a-z0-9]{1,8}-){0,2}[A-Za-z0-9]{32,128}(?![A-Za-z0-9_-])",
    "a Stripe key": r"[sr]k_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/=]{24,}",
    "a Slack token": r"xox(?:e\.xox)?[abceoprs]-[A-Za-z0-9-]{10,}|xapp-[0-9]-[A-Za-z0-9-]{20,}",
    "an AWS key": r"(?:AKIA|ASIA)[A-Z2-7]{16}(?![A-Za-z0-9])",
    "a Google key": r"AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])|ya29\.[A-Za-z0-9_-]{20,}|GOCSPX-[A-Za-z0-9_-]{20,}",
    "an npm token": r"npm_[A-Za-z0-9]{36,}",
    "a PyPI token": r"pypi-[A-Za-z0-9_-]{50,}",
    "a Hugging Face token": r"hf_[A-Za-z0-9]{30,}",
    "a SendGrid key": r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}",
    "a Twilio key": r"SK[0-9a-f]{32}(?![A-Za-z0-9])",
    "a Telegram bot token": r"(?:bot)?[0-9]{8,10}:AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])",
    "a Discord bot token": r"[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,45}(?![A-Za-z0-9_-])",
    "a DigitalOcean token": r"do[opr]_v1_[0-9a-f]{64}",
    "a JSON web token": r"(?<![_-])eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{10,}",
}
"""What providers' keys look like. What is open-ended is the last of a shape, or can begin only where a word does."""

_KINDS = {f"kind{number}": kind for number, kind in enumerate(_SHAPES)}
_SHAPE = re.compile("(?<![A-Za-z0-9])(?:" + "|".join(f"(?P<{g}>{_SHAPES[k]})" for g, k in _KINDS.items()) + ")")
_BEARER = re.compile(r"\bbearer\s{1,4}(?P<value>[A-Za-z0-9._~+/=-]{16,})", re.IGNORECASE)
_BASIC = re.compile(
    r"\bauthorization[\"']?\s{0,2}[:=]\s{0,2}[\"']?basic\s{1,4}(?P<value>[A-Za-z0-9+/=]{8,})", re.IGNORECASE
)
_IN_URL = re.compile(r"://[^\s/@:]{0,100}:(?P<value>[^\s/@]{1,200})@")

_ASSIGNED = re.compile(
    r"(?:(?P<password>pass(?:word|wd|phrase|code)|pwd|passwort|kennwort|contrase[ñn]a|mot de passe|senha)"
    r"|(?:api|access|auth|private|account|signing|refresh|bot|client|webhook|app)[ _-]?(?:access[ _-]?)?"
    r"(?:key|token|secret)|token|secret(?:[ _-]?(?:access[ _-]?)?key)?)[\"']?"
    r"(?:\s{0,3}(?:=>|:=|=|:)|\s{1,3}(?:is|ist|es|est)(?: now)?:?(?=\s))\s{0,3}"
    r"(?:\"(?P<double>[^\"\n]{8,512})\"|'(?P<single>[^'\n]{8,512})'|(?P<plain>[^\s\"'`<>]{8,512}))",
    re.IGNORECASE,
)
_NAMED = re.compile(r"(?:auth|access|api)[ _-]?(?:token|key)\s{1,3}(?P<value>[A-Za-z0-9_-]{24,512})", re.IGNORECASE)

_AWS = "an AWS key"
_NEAR = (
    (_AWS, re.compile(r"(?:AKIA|ASIA)[A-Z2-7]{16}"), re.compile(r"(?<![\w+/])[A-Za-z0-9+/]{40}(?![\w+/=])"), 300),
    ("a Twilio auth token", re.compile(r"\bAC[0-9a-f]{32}\b"), re.compile(r"(?<!\w)[0-9a-f]{32}(?!\w)"), 100),
)
"""Secrets without a shape, which are told by the id that comes before them, and within how many characters."""

_PRIVATE = r"(?:[A-Z0-9]{1,12}\s{1,4}){0,3}PRIVATE\s{1,4}KEY(?:\s{1,4}BLOCK)?\s{0,4}-{2,5}"
_PRIVATE_BEGIN = re.compile(r"-{2,5}\s{0,4}BEGIN\s{1,4}" + _PRIVATE)
_PRIVATE_END = re.compile(r"-{2,5}\s{0,4}END\s{1,4}" + _PRIVATE)
_PRIVATE_LINE = re.compile(r"[A-Za-z0-9+/=]{24}")
_PRIVATE_BODY_CHARACTERS = 40
"""How much stands between the two ends of a key, at least, if they are not only spoken of."""

_NO_VALUE = re.compile(
    r"[\[({<]|\$[A-Z_{(]|%[A-Z_(]|[~.]{0,2}/[a-z._-]+/|[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"|(?i:process\.env|os\.environ|env\.|your|example|changeme|placeholder)|.*(?:://|\.\.\.|\*\*\*|…)"
)
"""What stands where a value would, and is none: a reference, a path, an address, a date, a word for what goes there."""

_NO_PASSWORD = re.compile(r"(?i:pass(?:word|wd)?|pwd|pw|secret|token|x+|\*+)$")
_TURN = re.compile(r"(?=[A-Za-z][0-9]|[0-9][A-Za-z])")
_VAGUE = frozenset({PASSWORD, SECRET, "a bearer token"})


def _candidates(text: str) -> Iterator[Found]:
    for shape in _SHAPE.finditer(text):
        yield Found(kind=_KINDS[shape.lastgroup or ""], start=shape.start(), end=shape.end())
    yield from _private_keys(text)
    yield from _near_ids(text)
    for pattern, kind, looks_right in (
        (_BEARER, "a bearer token", _is_key),
        (_BASIC, PASSWORD, bool),
        (_IN_URL, PASSWORD, _is_url_password),
        (_NAMED, SECRET, _is_random),
    ):
        for match in pattern.finditer(text):
            if looks_right(match["value"]):
                yield Found(kind=kind, start=match.start("value"), end=match.end("value"))
    yield from _assigned(text)


def _assigned(text: str) -> Iterator[Found]:
    """Find what is given after a name that says that it is a secret."""
    for match in _ASSIGNED.finditer(text):
        group = match.lastgroup or ""
        value = match[group] if group != "plain" else match[group].rstrip(".,;:!?)]}")
        is_password = match["password"] is not None
        if not _NO_VALUE.match(value) and (_is_password(value) if is_password else _is_key(value)):
            start = match.start(group)
            yield Found(kind=PASSWORD if is_password else SECRET, start=start, end=start + len(value))


def _near_ids(text: str) -> Iterator[Found]:
    """Find secrets that come soon after the id that they belong to."""
    for kind, identifier, secret, within_characters in _NEAR:
        for id in identifier.finditer(text):
            for match in secret.finditer(text, id.end(), id.end() + within_characters):
                if _has_digits(match[0]) and (_has_both_cases(match[0]) or kind is not _AWS):
                    yield Found(kind=kind, start=match.start(), end=match.end())


def _private_keys(text: str) -> Iterator[Found]:
    """Find private keys in PEM's armour, also without their beginning or their end, which another message may have."""
    position = 0
    while end := _PRIVATE_END.search(text, position):
        begin = _PRIVATE_BEGIN.search(text, position, end.start())
        between = text[begin.end() if begin else position : end.start()]
        whole = begin is not None and len("".join(between.split())) >= _PRIVATE_BODY_CHARACTERS
        if whole or _PRIVATE_LINE.search(between):
            yield Found(kind=PRIVATE_KEY, start=begin.start() if begin else position, end=end.end())
        position = end.end()
    begin = _PRIVATE_BEGIN.search(text, position)
    if begin and _PRIVATE_LINE.search(text, begin.end()):
        yield Found(kind=PRIVATE_KEY, start=begin.start(), end=len(text))


def _is_password(value: str) -> bool:
    """Tell whether a value looks like a password: of letters and digits, or of letters and more than these."""
    more = _has_digits(value) or (_has_both_cases(value) and any(map("!@#$%^&*?+=".__contains__, value)))
    return len(value) >= 8 and any(map(str.isalpha, value)) and more


def _is_url_password(value: str) -> bool:
    return not (_NO_PASSWORD.match(value) or _NO_VALUE.match(value))


def _is_key(value: str) -> bool:
    """Tell whether a value looks like a key: long, of letters and digits that alternate, or of all kinds of them."""
    if len(value) < 16 or not value.isascii() or "://" in value:
        return False
    return _turns(value) >= 3 or (_has_digits(value) and _has_both_cases(value) and value.rstrip("=").isalnum())


def _is_random(value: str) -> bool:
    return _turns(value) >= 3


def _has_digits(value: str) -> bool:
    return any(map(str.isdecimal, value))


def _has_both_cases(value: str) -> bool:
    return value != value.lower() and value != value.upper()


def _turns(value: str) -> int:
    """Return how often a letter stands beside a digit: words with a number in them have few of those."""
    return sum(1 for _ in _TURN.finditer(value))
