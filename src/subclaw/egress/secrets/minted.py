"""Keys in answers: what a server gives to the holder of a secret is replaced, so that no machine gets it. Pure.

A machine may use a secret without having it; a token that it is given for that (OAuth, AWS STS, an app's installation)
would be its own. So in an answer to a request with a secret in it, each such value becomes a placeholder. Where that
cannot be done without doubt, the answer is refused.

What counts: a value under a name that is only used for keys, anywhere in JSON or in a form; and under one that only
hints at keys, a value that has the shape of some provider's (`core.key_shapes`). Limits, on purpose: other names with
other values pass; so do event streams, lines of JSON and what is no text. In an answer that is too long to be gathered,
or takes too long, names are looked for and end it.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_plus

from subclaw.core.key_shapes import kind_of_key
from subclaw.core.placeholder import MARKER
from subclaw.core.policy import Scope
from subclaw.core.secret import Binding, BoundSecret, MintedSecret
from subclaw.core.tenant import TenantId
from subclaw.egress.http.headers import Headers
from subclaw.egress.refusal import Refusal
from subclaw.egress.seal import VALUE_LIMIT_CHARACTERS
from subclaw.egress.secrets.scrub import SHORTEST_CHARACTERS, blot, forms_of

USUAL_LIFE_S = 24 * 3600.0
LONGEST_LIFE_S = 30 * 24 * 3600.0
KEYS_LIMIT = 16
"""Most keys of one answer."""

_NAMES = frozenset(
    """
    accesstoken refreshtoken idtoken authtoken oauthtoken oauthtokensecret bearertoken sessiontoken securitytoken
    authorizationtoken personalaccesstoken tempclonetoken clientsecret secretaccesskey secretkey accesskeysecret apikey
    apisecret apisecretkey privatekey privatekeydata webhooksecret signingsecret
    """.split()
)
"""Names of keys, in small letters and without what is between words."""
_HINTS = ("token", "secret", "key", "jwt", "credential", "passw", "value", "access", "refresh", "bearer")
_HINT = re.compile("|".join(_HINTS), re.IGNORECASE)
_HINTS_IN_BYTES = tuple(hint.encode() for hint in _HINTS)
_IDENTIFIERS = frozenset({"an AWS key", "a Twilio key"})
"""Shapes of what only names a key."""
_BETWEEN_WORDS = re.compile(r"[^a-z]")
_VALUE = re.compile(r"[\x21-\x29\x2b-\x7e]+")
_PRIVATE_KEY = "PRIVATE KEY-----"

_WORDS = rb"(?:(?:access|refresh|id|auth|session)_?token|client_?secret|secret_?access_?key)"
_IN_TEXT = re.compile(
    rb"[\"']" + _WORDS + rb"[\"']\s{0,16}:\s{0,16}[\"'][^\"'\s*]{8}"
    rb"|<(?:[a-z_][a-z0-9_.-]{0,30}:)?" + _WORDS + rb"(?:\s[^<>]{0,200})?>\s{0,16}(?:<!\[CDATA\[)?[^<\s*]{8}"
    rb"|\A\s{0,16}(?:[a-z_]{1,40}=[^&\s]{0,4096}&){0,20}" + _WORDS + rb"=[^&\s*]{8}",
    re.IGNORECASE,
)
_SPAN_BYTES = 512
"""What a name and the beginning of its value take up, at most."""
_IN_ADDRESS = re.compile(rb"([?#&](?:access|refresh|id)_token=)[^&#]+", re.IGNORECASE)
_DIGESTS = frozenset(b"content-length content-md5 digest content-digest repr-digest".split())


def minted_binding(binding: Binding) -> Binding:
    """Return where a key may go that came in an answer to a request with a secret of this binding: the same hosts."""
    return Binding(hosts=binding.hosts, ports=binding.ports, plain=binding.plain, tools=binding.tools)


def as_bound(id: int, tenant_id: TenantId, secret: MintedSecret) -> BoundSecret:
    """Return a key that came in an answer as it is once it is stored."""
    return BoundSecret(
        id=id,
        name=secret.name,
        scope=Scope.TENANT,
        tenant_id=tenant_id,
        placeholder=secret.placeholder,
        binding=secret.binding,
        sealed=secret.sealed,
        minted=True,
    )


class Kind(Enum):
    """What an answer's body is: something that can be rewritten, or a text in which keys can only be found."""

    JSON = auto()
    FORM = auto()
    TEXT = auto()


@dataclass(frozen=True, kw_only=True)
class Minted:
    """A key that came in an answer, and how long it is to be kept."""

    value: str
    lives_s: float


class Rewritten(NamedTuple):
    """An answer as the machine gets it; `minted` are the keys that were in it, by their placeholders."""

    headers: Headers
    body: bytes
    minted: dict[str, Minted]


def kind_of(headers: Headers) -> Kind | None:
    """Return what an answer's body is by its headers; None for what passes as it is."""
    types = [value for name, value in headers if name == b"content-type"]
    return _kind_of_type(types[0] if len(types) == 1 else b"")


@lru_cache(maxsize=64)
def _kind_of_type(content_type: bytes) -> Kind | None:
    media_type = content_type.partition(b";")[0].strip().lower().decode("latin-1")
    if media_type in _PASSING or media_type.partition("/")[0] in _BINARY:
        return None
    if media_type == "application/x-www-form-urlencoded":
        return Kind.FORM
    if media_type.endswith(("/json", "+json")) or media_type.startswith("application/x-amz-json"):
        return Kind.JSON
    if media_type.startswith("application/") and not media_type.endswith(("xml", "javascript")):
        return None
    return Kind.TEXT


_PASSING = frozenset({"text/event-stream", "application/x-ndjson", "application/jsonl", "application/json-seq"})
_BINARY = frozenset({"image", "audio", "video", "font"})


def without_keys_in_addresses(headers: Headers) -> Headers:
    """Return an answer's headers without tokens that a redirect carries (RFC 6749, section 4.2.2)."""
    if not [name for name, _ in headers if name == b"location"]:
        return headers
    return [(name, _IN_ADDRESS.sub(rb"\1[secret]", value) if name == b"location" else value) for name, value in headers]


def rewrite(kind: Kind, headers: Headers, body: bytes, placeholder_for: Callable[[str], str]) -> Rewritten:
    """Return a whole answer with placeholders in place of keys.

    Errors: `Refusal` with 502 if it holds keys and cannot be rewritten.
    """
    if kind is Kind.JSON and _without_hints(body):
        return Rewritten(headers=headers, body=body, minted={})
    found = _Found(placeholder_for)
    rewritten = {Kind.JSON: _json, Kind.FORM: _form, Kind.TEXT: _text}[kind](body, found)
    forms = sorted((form for each in found.minted.values() for form in forms_of(each.value)), key=len, reverse=True)
    if not forms and rewritten == body:
        return Rewritten(headers=headers, body=body, minted={})
    rewritten = blot(rewritten, tuple(forms))
    kept = [(name, blot(value, tuple(forms))) for name, value in headers if name not in _DIGESTS]
    return Rewritten(headers=[*kept, (b"content-length", b"%d" % len(rewritten))], body=rewritten, minted=found.minted)


class Watch:
    """Looks for keys in a text that passes in pieces."""

    def __init__(self) -> None:
        self._last = b""

    def feed(self, piece: bytes) -> None:
        """Look at the next piece. Errors: `Refusal` with 502."""
        text = self._last + piece
        if _IN_TEXT.search(text.replace(b"\0", b"")):  # of UTF-16 too, in which every second byte is none
            raise _refusal("it holds keys, and is too long or of a kind in which they cannot be replaced")
        # A form has its names at the beginning of the whole: what is looked at next must not begin like one.
        self._last = b";" + text[-_SPAN_BYTES:]


class _Found:
    """The keys of one answer, and their placeholders: one for each value."""

    def __init__(self, placeholder_for: Callable[[str], str]) -> None:
        self.minted: dict[str, Minted] = {}
        self._placeholder_for = placeholder_for
        self._placeholders: dict[str, str] = {}

    def replaced(self, name: str, value: str, lives_s: float) -> str:
        """Return a value as the machine gets it. Errors: `Refusal`."""
        if not _is_key(name, value):
            return value
        placeholder = self._placeholders.get(value)
        if placeholder is None:
            if len(self._placeholders) >= KEYS_LIMIT:
                raise _refusal(f"it holds more than {KEYS_LIMIT} keys")
            if len(value) > VALUE_LIMIT_CHARACTERS:
                raise _refusal("it holds a key that is too long to be kept")
            placeholder = self._placeholders[value] = self._placeholder_for(value)
            self.minted[placeholder] = Minted(value=value, lives_s=lives_s)
        return placeholder


def _is_key(name: str, value: str) -> bool:
    """Tell whether what stands under a name is a key. Errors: `Refusal` for one that no placeholder could stand for."""
    plain = _BETWEEN_WORDS.sub("", name.lower())
    if len(value) < SHORTEST_CHARACTERS or not _VALUE.fullmatch(value):
        if _PRIVATE_KEY in value and _HINT.search(name):
            raise _refusal("it holds a private key")
        return False
    if MARKER in value.lower() or value.startswith("[secret]"):
        return False
    return plain in _NAMES or (_HINT.search(name) is not None and kind_of_key(value) not in (None, *_IDENTIFIERS))


def _json(body: bytes, found: _Found) -> bytes:
    doubled = False

    def taken(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal doubled
        names = dict(pairs)
        doubled = doubled or len(names) < len(pairs)
        life_s = _life_s(names)
        return {name: _replaced(found, name, value, life_s) for name, value in names.items()}

    try:
        document = json.loads(body, object_pairs_hook=taken) if body.strip() else None
    except (ValueError, RecursionError):
        return _text(body, found)
    # A name that is given twice would be read by others as it is not read here.
    return json.dumps(document, separators=(",", ":")).encode() if doubled or found.minted else body


def _without_hints(body: bytes) -> bool:
    """Return whether nothing could be the name of a key, however it is read: most answers are done with that."""
    if not body.isascii() or b"\\u" in body or b"\0" in body:
        return False
    text = body.lower()
    return not any(map(text.__contains__, _HINTS_IN_BYTES))


def _replaced(found: _Found, name: str, value: Any, life_s: float) -> Any:
    if isinstance(value, list):
        return [_replaced(found, name, each, life_s) for each in value]
    return found.replaced(name, value, life_s) if isinstance(value, str) else value


def _form(body: bytes, found: _Found) -> bytes:
    fields = [field.partition(b"=") for field in body.split(b"&")]
    names = [(_decoded(name), _decoded(value)) for name, _, value in fields]
    life_s = _life_s(dict(names))
    pieces = []
    for field, (name, value) in zip(fields, names, strict=True):
        given = found.replaced(name, value, life_s)
        pieces.append(b"".join(field) if given == value else field[0] + b"=" + quote(given, safe="").encode())
    return b"&".join(pieces)


def _text(body: bytes, found: _Found) -> bytes:
    Watch().feed(body)
    return body


def _decoded(text: bytes) -> str:
    return unquote_plus(text.decode("latin-1"), errors="replace")


def _life_s(names: dict[str, Any]) -> float:
    """Return how long keys are to be kept by what is said beside them (RFC 6749, section 5.1)."""
    given = names.get("expires_in")
    try:
        seconds = float(given) if isinstance(given, int | float | str) else USUAL_LIFE_S
    except (ValueError, OverflowError):
        seconds = USUAL_LIFE_S
    return min(seconds, LONGEST_LIFE_S) if seconds > 0 else USUAL_LIFE_S


def _refusal(reason: str) -> Refusal:
    return Refusal(502, f"the upstream's answer is not passed on: {reason}; machines are given no keys")
