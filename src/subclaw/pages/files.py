"""Files that agents send, for whoever has the link: people whose channel does not take them, the web chat, providers.

They are tenants' content at the control plane's address, so a browser is to do nothing with one but save it, or show it
as a picture: it is an attachment, of a type that it has by its content and no other, and without rights if it is opened
after all. A link is random and holds for some weeks; whoever serves these routes writes no access log of them.
"""

from collections.abc import Awaitable, Callable
from urllib.parse import quote

from fastapi import APIRouter
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from subclaw.core.attachment import UNKNOWN_TYPE, safe_name
from subclaw.core.errors import NotFound
from subclaw.core.outgoing import FILES_PATH
from subclaw.store.outgoing import LinkedFile

_HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
    "Cache-Control": "private, max-age=86400, immutable",
}
_RUN_BY_BROWSERS = frozenset({"text/html", "image/svg+xml"})
_ID_LIMIT_CHARACTERS = 100

OpenFile = Callable[[str], Awaitable[LinkedFile]]
"""Returns the file of a link, by its id. Errors: `NotFound`, `Unavailable`."""


def files_router(open_file: OpenFile) -> APIRouter:
    """Return the route of files."""
    router = APIRouter(include_in_schema=False)

    @router.api_route(FILES_PATH + "/{id}/{name}", methods=["GET", "HEAD"])
    async def file(id: str, name: str) -> Response:
        """Answer with a file. It has its own name: the one in the address is for people to read."""
        try:
            found = await open_file(id[:_ID_LIMIT_CHARACTERS])
        except NotFound as error:
            return PlainTextResponse(error.public, status_code=404, headers={"Cache-Control": "no-store"})
        plain = safe_name(found.name)
        disposition = f"attachment; filename*=UTF-8''{quote(plain)}"
        headers = {"Content-Disposition": disposition, "Content-Length": str(found.size_bytes)} | _HEADERS
        return StreamingResponse(found.pieces, media_type=_shown_type(found.media_type), headers=headers)

    return router


def _shown_type(media_type: str) -> str:
    """Return what a browser is told of a type: of those that it would run, nothing."""
    if media_type in _RUN_BY_BROWSERS:
        return UNKNOWN_TYPE
    return "text/plain; charset=utf-8" if media_type == "text/plain" else media_type
