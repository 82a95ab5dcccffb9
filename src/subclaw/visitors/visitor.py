"""What all routes of visitors have in common: whose site it is, what they sent, and pages."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import HTTP
from pathlib import Path
from urllib.parse import parse_qsl

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from subclaw.core.errors import Denied, Invalid, NotFound
from subclaw.core.tenant import TenantId
from subclaw.core.visit import BODY_LIMIT_BYTES, FIELDS_LIMIT
from subclaw.pages.page import Assets, asset_response
from subclaw.pages.request import is_same_origin, media_type, read_body
from subclaw.pages.sheet import Render, sheet_assets, sheet_renderer, sheet_route
from subclaw.store.database import Database

ASSETS_PATH = "/_/assets"
_FOLDER = Path(__file__).parent / "page"

TenantAt = Callable[[str], Awaitable[TenantId | None]]
"""Says whose site a hostname is, if it is anybody's. Errors: `Unavailable`."""


@dataclass(frozen=True, kw_only=True)
class Visiting:
    """What the routes are given. The database is open in the application's role; `title` is the product's name."""

    database: Database
    tenant_at: TenantAt
    title: str
    assets: Assets = field(default_factory=lambda: sheet_assets(_FOLDER))

    def render(self) -> Render:
        """Return what makes pages."""
        return sheet_renderer(_FOLDER, self.title, self.assets, ASSETS_PATH)

    def router(self) -> APIRouter:
        """Return a router whose answers are sheets."""
        return APIRouter(route_class=sheet_route(self.render()), include_in_schema=False)

    async def tenant_of(self, request: Request) -> TenantId:
        """Return whose site was asked. Errors: `NotFound`, `Unavailable`."""
        found = await self.tenant_at(hostname_of(request))
        if found is None:
            raise NotFound("There is no site at this address.")
        return found


def assets_router(visiting: Visiting) -> APIRouter:
    """Return the route of the pages' files."""
    router = visiting.router()

    @router.get(ASSETS_PATH + "/{digest}/{name}")
    async def asset(digest: str, name: str) -> Response:
        return asset_response(visiting.assets, digest, name)

    return router


def hostname_of(request: Request) -> str:
    """Return the hostname that was asked for, in small letters and without a port."""
    return request.headers.get("host", "").partition(":")[0].lower().rstrip(".")


async def read_bounded(request: Request) -> bytes:
    """Return the body. Errors: `Invalid` if it is too long."""
    body = await read_body(request, limit_bytes=BODY_LIMIT_BYTES)
    if body is None:
        raise Invalid(f"That is too much: {BODY_LIMIT_BYTES // 1024} KB at most.")
    return body


async def read_fields(request: Request) -> Sequence[tuple[str, str]]:
    """Return the fields of a form that a page of this very site sent, or a program that is no browser.

    Errors: `Denied` if another site's page sent it, `Invalid`.
    """
    if not is_same_origin(request.headers):
        raise Denied("That did not come from a page of this site.")
    body = await read_bounded(request)
    try:
        match media_type(request):
            case "application/x-www-form-urlencoded" | "":
                text = body.decode("utf-8")
                return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=2 * FIELDS_LIMIT)
            case "multipart/form-data":
                return _parts(request.headers["content-type"], body)
            case "application/json":
                return _members(json.loads(body))
            case _:
                raise Invalid("That is not what a form sends.")
    except (ValueError, RecursionError):
        raise Invalid("That is not what a form sends.") from None  # without what was in it


def _parts(content_type: str, body: bytes) -> Sequence[tuple[str, str]]:
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    found: list[tuple[str, str]] = []
    for part in message_from_bytes(head + body, policy=HTTP).iter_parts():
        if part.get_filename():
            raise Invalid("Files cannot be sent by this form.")
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(content, bytes):
            found.append((name, content.decode("utf-8")))
    return found


def _members(value: object) -> Sequence[tuple[str, str]]:
    if not isinstance(value, dict):
        raise Invalid("That is not what a form sends.")
    return [(name, one if isinstance(one, str) else str(one)) for name, one in value.items() if one is not None]
