"""How the console answers: pages from templates, and errors as pages of their own."""

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from subclaw.console import display
from subclaw.core.errors import SubclawError
from subclaw.pages.page import SECURITY_HEADERS, Assets, SecuredRoute, templates
from subclaw.statuses import status_of

FOLDER = Path(__file__).parent / "pages"


class Render(Protocol):
    """Makes a page of a template and the values that it shows."""

    def __call__(self, template: str, /, *, status: int = 200, **names: object) -> HTMLResponse:
        """Return the page. It is for this moment and this person: nobody keeps it."""
        ...


def page_renderer(title: str, assets: Assets) -> Render:
    """Return the renderer of the console's pages. `title` is the product's name on them."""
    environment = templates(FOLDER)
    for name in ("lasting", "ago", "exact", "clock", "count", "event_name", "state_name"):
        environment.filters[name] = getattr(display, name)
    environment.globals |= {"title": title, "assets": f"/console/assets/{assets.digest}", "TROUBLES": display.TROUBLES}

    def render(template: str, /, *, status: int = 200, **names: object) -> HTMLResponse:
        html = environment.get_template(template).render(now=datetime.now(UTC), **names)
        return HTMLResponse(html, status_code=status, headers={"Cache-Control": "no-store"})

    return render


def console_route(render: Render) -> type[SecuredRoute]:
    """Return a kind of route whose errors are pages: for a stranger the sign-in page, else one that says what it is."""

    class ConsoleRoute(SecuredRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def explained(request: Request) -> Response:
                try:
                    return await handle(request)
                except SubclawError as error:
                    return error_page(render, error)

            return explained

    return ConsoleRoute


def error_page(render: Render, error: SubclawError) -> Response:
    """Return what is shown instead of the page that was wanted."""
    status = status_of(error)
    if status in (401, 429):
        page = render("enter.html", status=status, notice=error.public)
    else:
        page = render("error.html", status=status, words=error.public)
    page.headers.update(SECURITY_HEADERS)
    return page
