"""How the page answers: its templates, its headers, and errors in words."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from subclaw.core.errors import SubclawError
from subclaw.pages.page import SECURITY_HEADERS, Assets, SecuredRoute, templates
from subclaw.statuses import status_of

FOLDER = Path(__file__).parent / "page"

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}
"""The page's address is a credential: it goes into no `Referer`. The page has no scripts."""


class Render(Protocol):
    """Makes a page of a template and the values that it shows."""

    def __call__(self, template: str, /, *, status: int = 200, **names: object) -> HTMLResponse:
        """Return the page. Nobody keeps it."""
        ...


def page_renderer(title: str, assets: Assets, path: str) -> Render:
    """Return the renderer. `title` is the product's name on the pages, `path` is where their files are."""
    environment, base = templates(FOLDER), f"{path}/{assets.digest}"

    def render(template: str, /, *, status: int = 200, **names: object) -> HTMLResponse:
        html = environment.get_template(template).render(title=title, base=base, **names)
        return HTMLResponse(html, status_code=status, headers={"Cache-Control": "no-store"})

    return render


def handover_route(render: Render) -> type[SecuredRoute]:
    """Return a kind of route with this page's headers, whose errors are pages."""

    class HandoverRoute(SecuredRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def answered(request: Request) -> Response:
                try:
                    response = await handle(request)
                except SubclawError as error:
                    heading = "That did not work"
                    response = render("words.html", status=status_of(error), heading=heading, words=error.public)
                    response.headers.update(SECURITY_HEADERS)
                response.headers.update(HEADERS)
                return response

            return answered

    return HandoverRoute
