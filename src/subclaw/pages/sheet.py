"""A sheet: a page with a heading and some words or a form, without scripts, at an address that may be a secret."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from subclaw.core.errors import SubclawError
from subclaw.pages.page import SECURITY_HEADERS, Assets, SecuredRoute, load_assets, templates
from subclaw.statuses import status_of

_FOLDER = Path(__file__).parent / "sheets"

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}
"""The address may be a credential: it goes into no `Referer`."""


class Render(Protocol):
    """Makes a page of a template and the values that it shows."""

    def __call__(self, template: str, /, *, status: int = 200, **names: object) -> HTMLResponse:
        """Return the page. Nobody keeps it."""
        ...


def sheet_assets(folder: Path) -> Assets:
    """Return the files of a folder's sheets."""
    return load_assets(_FOLDER, folder)


def sheet_renderer(folder: Path, title: str, assets: Assets, path: str) -> Render:
    """Return the renderer of a folder's templates, `words.html` among them.

    `title` is the product's name on the pages, `path` is where their files are.
    """
    environment, base = templates(folder, _FOLDER), f"{path}/{assets.digest}"

    def render(template: str, /, *, status: int = 200, **names: object) -> HTMLResponse:
        html = environment.get_template(template).render(title=title, base=base, **names)
        return HTMLResponse(html, status_code=status, headers={"Cache-Control": "no-store"})

    return render


def sheet_route(render: Render) -> type[SecuredRoute]:
    """Return a kind of route with a sheet's headers, whose errors are sheets."""

    class SheetRoute(SecuredRoute):
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

    return SheetRoute
