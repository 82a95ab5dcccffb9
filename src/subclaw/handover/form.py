"""What a person fills in, parsed: the value, and for a secret that nobody described, its name and where it goes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request

from subclaw.core.access import USUAL_FIELDS, SecretRequest, suggestion_for
from subclaw.core.errors import Denied, Invalid
from subclaw.core.placeholder import MARKER
from subclaw.core.secret import Binding, Place
from subclaw.core.secret_words import check_secret_name, check_value, checked_binding
from subclaw.pages.request import media_type, read_body

FOLDER = Path(__file__).parent / "page"
"""The templates of the page."""

FORM_LIMIT_BYTES = 120_000
"""The longest value takes twelve bytes a character, if all of it has to be escaped."""

_NOT_A_FORM = "That was not the form of this page. Open the link again."


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What stands in the fields that describe a secret, as it was typed or is suggested."""

    name: str = ""
    hosts: str = ""
    place: str = Place.HEADER.value
    field: str = ""


def suggested(kind: str) -> Chosen:
    """Return what the fields begin with, for a key of that kind."""
    found = suggestion_for(kind)
    if found is None:
        return Chosen()
    binding = found.binding
    return Chosen(name=found.name, hosts=" ".join(binding.hosts), place=binding.place.value, field=binding.name)


async def read_form(request: Request) -> Mapping[str, str]:
    """Read the form. Errors: `Denied` if another site's page sent it, `Invalid`."""
    if _is_from_elsewhere(request):
        raise Denied("That did not come from this page.")
    body = await read_body(request, limit_bytes=FORM_LIMIT_BYTES)
    if body is None or media_type(request) != "application/x-www-form-urlencoded":
        raise Invalid(_NOT_A_FORM)
    try:
        return dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=8))
    except ValueError:
        raise Invalid(_NOT_A_FORM) from None  # without what was in it


def chosen(fields: Mapping[str, str]) -> Chosen:
    """Return what was typed into the fields that describe a secret."""
    return Chosen(**{name: fields.get(name, "")[:2_000] for name in ("name", "hosts", "place", "field")})


def described(request: SecretRequest, typed: Chosen) -> tuple[str, Binding]:
    """Return a secret's name and where it goes: as it was asked for, or as the person says. Errors: `Invalid`."""
    if request.binding is not None:
        return request.name, request.binding
    name = typed.name.strip().upper()
    check_secret_name(name)
    try:
        place = Place(typed.place)
    except ValueError:
        raise Invalid(_NOT_A_FORM) from None
    hosts = tuple(typed.hosts.replace(",", " ").split())
    field = typed.field.strip() or USUAL_FIELDS[place]
    return name, checked_binding(Binding(hosts=hosts, place=place, name="" if place is Place.PATH else field))


def value_of(fields: Mapping[str, str], binding: Binding) -> str:
    """Return the value that was typed, without the space around it that copying brings. Errors: `Invalid`."""
    value = fields.get("value", "").strip()
    if MARKER in value.lower():
        raise Invalid("That is a placeholder of ours, not the secret itself.")
    check_value(binding, value)
    return value


def _is_from_elsewhere(request: Request) -> bool:
    """Tell whether another site's page sent a form.

    Whoever has the token may use it, so nothing is lost where a browser says neither: with this page's referrer policy
    it sends `Origin: null`, and over plain HTTP no `Sec-Fetch-Site` (Fetch, "append a request Origin header").
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin", "null")
    if site is not None:
        return site != "same-origin"
    return origin != "null" and urlsplit(origin).netloc.lower() != request.headers.get("host", "").lower()
