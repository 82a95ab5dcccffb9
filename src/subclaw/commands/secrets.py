"""`subclaw secrets`: values that machines never have, bound to the hosts that they are for."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from getpass import getpass
from random import SystemRandom
from typing import BinaryIO

from rich.console import Console

from subclaw.commands.lists import operator_database
from subclaw.commands.owners import ROWS, Owner, denials, number_of, words
from subclaw.commands.tables import show
from subclaw.config import Settings
from subclaw.core.errors import Invalid
from subclaw.core.placeholder import placeholder_for
from subclaw.core.policy import HTTPS_PORT
from subclaw.core.secret import Binding, Place, label
from subclaw.core.secret_words import check_secret_name, check_value, checked_binding
from subclaw.egress.keys import read_public_key
from subclaw.egress.seal import VALUE_LIMIT_CHARACTERS, seal
from subclaw.home import Home
from subclaw.store.secrets import existing_placeholder, list_secrets, remove_secret, save_bound_secret

HTTP_PORT = 80
SHOWN_CHARACTERS = 20
"""How much of a placeholder a list shows."""


@dataclass(frozen=True, kw_only=True)
class PlaceOptions:
    """Where in a request a secret goes, as the options say it; None is not said."""

    header: str | None = None
    basic: str | None = None
    query: str | None = None
    path: bool = False


@dataclass(frozen=True, kw_only=True)
class WantedSecret:
    """A secret that is to be set, but for its value."""

    name: str
    owner: Owner
    binding: Binding


def wanted_secret(name: str, owner: Owner, binding: Binding, place: PlaceOptions) -> WantedSecret:
    """Return what is to be set, checked; `binding` says all but the place. Errors: `Invalid`."""
    check_secret_name(name)
    where, what, template = _place(place)
    ports = binding.ports or ((HTTPS_PORT, HTTP_PORT) if binding.plain else (HTTPS_PORT,))
    full = Binding(
        hosts=binding.hosts,
        ports=ports,
        methods=binding.methods,
        paths=binding.paths,
        place=where,
        name=what,
        template=template,
        plain=binding.plain,
        tools=owner.tools,
    )
    return WantedSecret(name=name, owner=owner, binding=checked_binding(full))


def read_value(name: str, *, ask: Callable[[str], str] = getpass, stdin: BinaryIO | None = None) -> str:
    """Return a secret's value, typed unseen at a terminal or else from standard input. Errors: `Invalid`.

    Of standard input one line break at the end is no part of it.
    """
    source = stdin or sys.stdin.buffer
    if source.isatty():
        return ask(f"{name}: ")
    content = source.read(4 * VALUE_LIMIT_CHARACTERS + 3)
    try:
        return content.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise Invalid("A secret is UTF-8 text.") from None


async def set_secret(settings: Settings, console: Console, wanted: WantedSecret, value: str) -> None:
    """Seal a secret and store it; one that is set again keeps its placeholder.

    Errors: `Invalid`, `NotFound`, `Conflict`, `Exhausted`.
    """
    name, owner, binding = wanted.name, wanted.owner, wanted.binding
    check_value(binding, value)
    public_key = read_public_key(Home(settings.home).keys)
    async with operator_database(settings) as operator:
        tenant_id = await number_of(operator, owner.tenant)
        old = await existing_placeholder(operator, owner.scope, tenant_id, name)
        if old is not None and old in value:
            raise Invalid(f"That is the placeholder of {name}, not its value.")
        placeholder = old or placeholder_for(value, SystemRandom())
        await save_bound_secret(
            operator,
            name=name,
            scope=owner.scope,
            tenant_id=tenant_id,
            placeholder=placeholder,
            binding=binding,
            sealed=seal(public_key, value, label(name, owner.scope, tenant_id, placeholder, binding)),
        )
        denied = await denials(operator, tenant_id, binding.rules(owner.scope))
    where = f"For {{{{secret:{name}}}}} they send this placeholder:"
    if not owner.tools:
        where = f"Their machines have this placeholder in ${name}:"
    _print(console, f"{name} is set{' anew' if old else ''} for {owner}. {where}")
    _print(console, f"  {placeholder}")
    _print(console, f"The gateway puts the value into {where_to(binding)}.")
    for line in denied:
        _print(console, line)


async def list_all(settings: Settings, console: Console, *, tenant: str | None, as_json: bool) -> None:
    """List secrets, never their values: everybody's, or those that a tenant has or that count for all."""
    async with operator_database(settings) as operator:
        found = await list_secrets(operator, await number_of(operator, tenant), limit=ROWS)
    rows = [
        {
            "name": secret.name,
            "scope": secret.scope.value,
            "tenant": secret.tenant_name,
            "tools": secret.binding.tools,
            "hosts": ", ".join(secret.binding.hosts),
            "place": place_words(secret.binding),
            "placeholder": _short(secret.placeholder),
            "set": _at(secret.updated_at),
            "used": _at(secret.last_used_at),
        }
        for secret in found
    ]
    show(rows, console, as_json=as_json, none="There are no secrets for machines.")


async def revoke(settings: Settings, console: Console, name: str, owner: Owner) -> None:
    """Remove a secret. Errors: `NotFound`."""
    async with operator_database(settings) as operator:
        await remove_secret(operator, owner.scope, await number_of(operator, owner.tenant), name)
    _print(console, f"{name} is revoked for {owner}: its placeholder is a text like any other now.")


def where_to(binding: Binding) -> str:
    """Say in words where a secret goes."""
    only = [*(["/".join(binding.methods)] if binding.methods else []), *binding.paths]
    requests = "every request" if binding.template else "requests that hold the placeholder there,"
    which = f" ({words(only)} alone)" if only else ""
    ports = words([str(port) for port in binding.ports])
    plain = ", with TLS or without" if binding.plain else ""
    return f"{place_words(binding)} of {requests} to {words(binding.hosts)}{which}, port {ports}{plain}"


def place_words(binding: Binding) -> str:
    """Say in words into what of a request a secret goes."""
    match binding.place:
        case Place.HEADER:
            around = f" as {binding.template!r}" if binding.template else ""
            return f"the header {binding.name}{around}"
        case Place.BASIC:
            return f"Basic authentication of {binding.name or 'any user'}"
        case Place.QUERY:
            return f"the parameter {binding.name}"
        case Place.PATH:
            return "the path"


def _place(options: PlaceOptions) -> tuple[Place, str, str]:
    """Return the place, the name and what is around the value. Errors: `Invalid`."""
    given = [options.header is not None, options.basic is not None, options.query is not None, options.path]
    if sum(given) > 1:
        raise Invalid("Say one of --header, --basic, --query and --path.")
    if options.basic is not None:
        user, _, template = options.basic.partition(":")
        return Place.BASIC, user, template
    if options.query is not None:
        return Place.QUERY, options.query, ""
    if options.path:
        return Place.PATH, "", ""
    name, _, template = (options.header or Binding(hosts=()).name).partition(":")
    return Place.HEADER, name.strip(), template.strip()


def _short(placeholder: str) -> str:
    return placeholder if len(placeholder) <= SHOWN_CHARACTERS else f"{placeholder[:SHOWN_CHARACTERS]}…"


def _at(at: datetime | None) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ") if at else ""


def _print(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True, markup=False)
