"""What a browser asks of the console, parsed: ids, places to go on from, short forms."""

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.requests import Request

from subclaw.core.errors import Denied, Invalid, NotFound
from subclaw.pages.request import is_same_origin, media_type, read_body
from subclaw.store.tenants import LAST_ID

FORM_LIMIT_BYTES = 2_000
_FORM_TYPE = "application/x-www-form-urlencoded"


def check_id(id: int) -> int:
    """Return an id that a row could have. Errors: `NotFound`."""
    if not 0 < id <= LAST_ID:
        raise NotFound("There is nothing here.")
    return id


def before(request: Request) -> int:
    """Return below which id or seq a list is to go on; the greatest there is, if the query does not say."""
    return _number(request, "before") or LAST_ID


def chosen(request: Request) -> int | None:
    """Return the conversation that the query names."""
    return _number(request, "conversation")


def prefix(request: Request) -> str:
    """Return how the names that are looked for begin: of what was typed, what a name can have."""
    return re.sub(r"[^a-z0-9-]", "", request.query_params.get("name", "")[:100].lower())[:63]


def check_origin(request: Request) -> None:
    """Refuse a form that another site's page sent. Errors: `Denied`."""
    if not is_same_origin(request.headers):
        raise Denied("That did not come from the console's own page.")


async def form(request: Request) -> Mapping[str, str]:
    """Read a form of the console's own page. Errors: `Denied`, `Invalid`."""
    check_origin(request)
    body = await read_body(request, limit_bytes=FORM_LIMIT_BYTES)
    if body is None or media_type(request) != _FORM_TYPE:
        raise Invalid("That was not a form of the console.")
    try:
        return dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=8))
    except ValueError as error:
        raise Invalid("That was not a form of the console.", internal=type(error).__name__) from error


def client_of(request: Request) -> str:
    """Return the address that a request came from: the router writes it down, over whatever the client wrote."""
    forwarded = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    return forwarded[:64] or (request.client.host if request.client else "")


def _number(request: Request, name: str) -> int | None:
    text = request.query_params.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        return None
    return min(int(text), LAST_ID)
