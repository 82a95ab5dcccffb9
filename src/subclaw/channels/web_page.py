"""What the web chat sends to a browser: its page, its files, and the headers that keep both what they are."""

import hashlib
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

_FOLDER = Path(__file__).parent / "web"
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
"""Sent with every response of the web chat."""


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


def load_assets() -> Assets:
    """Read the page's files, which are few and small, once."""
    paths = sorted(path for path in _FOLDER.iterdir() if path.suffix in _MEDIA_TYPES)
    files = {path.name: Asset(content=path.read_bytes(), media_type=_MEDIA_TYPES[path.suffix]) for path in paths}
    digest = hashlib.sha256()
    for name, asset in files.items():
        digest.update(f"{name}\0{len(asset.content)}\0".encode() + asset.content)
    return Assets(digest=digest.hexdigest()[:16], files=files)


def page_renderer(title: str, assets: Assets) -> Callable[..., HTMLResponse]:
    """Return a function that renders a template of the folder `web` with the names it is given."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    base = f"/chat/assets/{assets.digest}"

    def render(template: str, *, status: int = 200, **names: object) -> HTMLResponse:
        html = environment.get_template(template).render(title=title, base=base, **names)
        return HTMLResponse(html, status_code=status, headers={"Cache-Control": "private, no-cache"})

    return render
