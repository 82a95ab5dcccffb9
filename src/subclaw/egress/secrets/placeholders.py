"""Placeholders in a machine's request: where a secret belongs that is bound to the host, its value goes. Pure."""

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote_plus

from subclaw.core.errors import Corrupt
from subclaw.core.policy import Rule, host_matches
from subclaw.core.secret import BoundSecret, Place
from subclaw.egress.http.headers import Headers
from subclaw.egress.http.paths import Path
from subclaw.egress.secrets.opened import Opened

_BASIC = re.compile(rb"basic +([A-Za-z0-9+/]+={0,2}) *", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Usable:
    """A secret of which the gateway has the value. `rule` says to which requests it may be put in."""

    secret: BoundSecret
    value: Opened
    rule: Rule


@dataclass(frozen=True, kw_only=True)
class Filled:
    """A request with the values in it; `used` are the ids of their secrets."""

    target: str
    headers: Headers
    used: frozenset[int] = frozenset()


def bound_to(secret: BoundSecret, host: str, port: int, *, tls: bool) -> bool:
    """Return whether a secret may go to a host at all."""
    binding = secret.binding
    return port in binding.ports and (tls or binding.plain) and any(host_matches(each, host) for each in binding.hosts)


def fill(method: str, path: Path, target: str, headers: Headers, usable: Sequence[Usable]) -> Filled:
    """Put the values of secrets that are bound to the host into a request to it.

    A placeholder anywhere but where its binding says stays one.
    Errors: `Corrupt` for a value that cannot be where it belongs, naming the secret and not quoting it.
    """
    filled = Filled(target=target, headers=headers)
    for each in usable:
        if each.rule.is_about(method, path.canonical) and not (path.doubtful and each.rule.paths):
            filled = _PLACES[each.secret.binding.place](filled, each.secret, each.value)
    return filled


def _header(filled: Filled, secret: BoundSecret, value: Opened) -> Filled:
    name, template = secret.binding.name.encode(), secret.binding.template
    text = value.reveal()
    if not (text.isascii() and text.isprintable()) or text != text.strip():
        raise Corrupt(f"The secret {secret.name} holds characters that cannot be sent in a header.")
    if template:
        others = [(key, kept) for key, kept in filled.headers if key.lower() != name]
        return _used(filled, secret, headers=[*others, (name, template.replace("{}", text).encode())])
    return _replaced(filled, secret, name, lambda old: _header_with(old, secret, value))


def _header_with(old: bytes, secret: BoundSecret, value: Opened) -> bytes:
    """Return a header with the value in it; programs that are given a user and a password write them in base64."""
    if _BASIC.fullmatch(old):
        return _basic_with(old, "", secret, value)
    return old.replace(secret.placeholder.encode(), value.reveal().encode())


def _basic(filled: Filled, secret: BoundSecret, value: Opened) -> Filled:
    user, template = secret.binding.name, secret.binding.template
    if template:
        pair = f"{user}:{template.replace('{}', value.reveal())}".encode()
        others = [(key, kept) for key, kept in filled.headers if key.lower() != b"authorization"]
        return _used(filled, secret, headers=[*others, (b"authorization", b"Basic " + base64.b64encode(pair))])
    return _replaced(filled, secret, b"authorization", lambda old: _basic_with(old, user, secret, value))


def _basic_with(old: bytes, user: str, secret: BoundSecret, value: Opened) -> bytes:
    found = _BASIC.fullmatch(old)
    if found is None:
        return old
    try:
        pair = base64.b64decode(found[1], validate=True)
    except binascii.Error:
        return old
    given = pair.partition(b":")[0]
    placeholder = secret.placeholder.encode()
    # The token may also stand where the user's name does, as with some git hosts.
    if user and given not in (user.encode(), placeholder):
        return old
    return b"Basic " + base64.b64encode(pair.replace(placeholder, value.reveal().encode()))


def _query(filled: Filled, secret: BoundSecret, value: Opened) -> Filled:
    path, mark, query = filled.target.partition("?")
    fields = [_field(field, secret, value) for field in query.split("&")]
    return _used(filled, secret, target=path + mark + "&".join(fields)) if fields != query.split("&") else filled


def _field(field: str, secret: BoundSecret, value: Opened) -> str:
    name, equals, text = field.partition("=")
    if unquote_plus(name).lower() != secret.binding.name or secret.placeholder not in unquote_plus(text):
        return field
    return name + equals + quote(unquote_plus(text).replace(secret.placeholder, value.reveal()), safe="")


def _path(filled: Filled, secret: BoundSecret, value: Opened) -> Filled:
    path, mark, query = filled.target.partition("?")
    if secret.placeholder not in path:
        return filled
    return _used(
        filled, secret, target=path.replace(secret.placeholder, quote(value.reveal(), safe=":")) + mark + query
    )


def _replaced(filled: Filled, secret: BoundSecret, name: bytes, new: Callable[[bytes], bytes]) -> Filled:
    size = len(name)
    changed = {
        number: (key, value)
        for number, (key, old) in enumerate(filled.headers)
        if len(key) == size and key.lower() == name and (value := new(old)) != old
    }
    if not changed:
        return filled
    return _used(filled, secret, headers=[changed.get(number, pair) for number, pair in enumerate(filled.headers)])


def _used(filled: Filled, secret: BoundSecret, *, target: str = "", headers: Headers | None = None) -> Filled:
    return Filled(
        target=target or filled.target,
        headers=filled.headers if headers is None else headers,
        used=filled.used | {secret.id},
    )


_PLACES: dict[Place, Callable[[Filled, BoundSecret, Opened], Filled]] = {
    Place.HEADER: _header,
    Place.BASIC: _basic,
    Place.QUERY: _query,
    Place.PATH: _path,
}
