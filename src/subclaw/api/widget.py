"""The chat widget: one script that a shop pastes in."""

import hashlib
from pathlib import Path

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

_SCRIPT = Path(__file__).parent / "widget.js"


def widget_router() -> APIRouter:
    """Return the route of the script. Any page may load it; it holds nothing of anybody's."""
    router = APIRouter(include_in_schema=False)
    content = _SCRIPT.read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {
        "Cache-Control": "public, max-age=300",
        "ETag": tag,
        "Cross-Origin-Resource-Policy": "cross-origin",
        "Access-Control-Allow-Origin": "*",
        "X-Content-Type-Options": "nosniff",
    }

    @router.get("/widget.js")
    async def widget(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type="text/javascript", headers=headers)

    return router
