"""What is sent to a browser: pages, their files, and the headers that keep both what they are."""

import hashlib
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import Response

_LOOK = Path(__file__).parent / "look"
_MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

SECURITY_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
}
"""Sent with every response to a browser."""


class SecuredRoute(APIRoute):
    """A route whose responses all carry `SECURITY_HEADERS`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler."""
        handle = super().get_route_handler()

        async def secured(request: Request) -> Response:
            response = await handle(request)
            response.headers.update(SECURITY_HEADERS)
            return response

        return secured


@dataclass(frozen=True, kw_only=True)
class Asset:
    """A file of the page, as it is sent."""

    content: bytes
    media_type: str


@dataclass(frozen=True, kw_only=True)
class Assets:
    """All files of the page. `digest` changes with any of them and is in their path, so browsers keep them for good."""

    digest: str
    files: Mapping[str, Asset]


def load_assets(*folders: Path) -> Assets:
    """Read the files of the pages in these folders, and those that all pages share: few and small, so read once."""
    paths = sorted(path for place in (_LOOK, *folders) for path in place.iterdir() if path.suffix in _MEDIA_TYPES)
    files = {path.name: Asset(content=path.read_bytes(), media_type=_MEDIA_TYPES[path.suffix]) for path in paths}
    digest = hashlib.sha256()
    for name, asset in files.items():
        digest.update(f"{name}\0{len(asset.content)}\0".encode() + asset.content)
    return Assets(digest=digest.hexdigest()[:16], files=files)


def asset_response(assets: Assets, digest: str, name: str) -> Response:
    """Answer a request for a file: the file, to be kept for good, or 404."""
    found = assets.files.get(name)
    if found is None or digest != assets.digest:
        return Response(status_code=404)
    return Response(
        found.content, media_type=found.media_type, headers={"Cache-Control": "public, max-age=31536000, immutable"}
    )


def templates(*folders: Path) -> Environment:
    """Return the templates of folders: what they are given is shown as text, and a name that is missing is an error."""
    return Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
