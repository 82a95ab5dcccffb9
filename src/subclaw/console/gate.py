"""The gate: the key goes in once, a session comes out, and nothing behind is seen without one.

The key travels in the fragment of a link, which browsers send to nobody, and then in the body of a form: so it is in no
log, no `Referer` and no address that a router or a proxy sees.
"""

import logging
import time
from collections.abc import Awaitable, Callable

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from subclaw.console.access import SESSION_S, is_key, is_session, new_session
from subclaw.console.answer import Render
from subclaw.console.request import check_origin, client_of, form
from subclaw.console.tries import WrongTries
from subclaw.core.errors import Exhausted, Unauthenticated
from subclaw.pages.request import is_https

ENTER_PATH = "/console/enter"

log = logging.getLogger(__name__)


def console_link(url: str, key: str) -> str:
    """Return the link that signs in whoever has it. `url` is where people reach the control plane."""
    return f"{url}{ENTER_PATH}#{key}"


def cookie_name(public_url: str) -> str:
    """Return the session cookie's name; with https its prefix keeps the sites below our domain from setting it."""
    return "__Host-subclaw_console" if is_https(public_url) else "subclaw_console"


def signed_in(key_hash: bytes, public_url: str) -> Callable[[Request], Awaitable[None]]:
    """Return a dependency that lets only sessions of this key pass. Errors: `Unauthenticated`."""

    async def check(request: Request) -> None:
        if not is_session(request.cookies.get(cookie_name(public_url), ""), key_hash, time.time()):
            raise Unauthenticated("Sign in to see this.")

    return check


def add_gate(router: APIRouter, render: Render, *, key_hash: bytes, public_url: str) -> None:
    """Add the ways in and out."""
    tries, cookie = WrongTries(), cookie_name(public_url)

    @router.get("/enter")
    async def door() -> Response:
        return render("enter.html", notice="")

    @router.post("/enter")
    async def enter(request: Request) -> Response:
        key, client = (await form(request)).get("key", "").strip(), client_of(request)
        if wait_s := tries.wait_s(client, time.monotonic()):
            raise Exhausted(f"Too many wrong keys. Try again in {wait_s + 1:.0f} seconds.")
        if not is_key(key, key_hash):
            tries.count(client, time.monotonic())
            log.warning("console: a wrong key")
            raise Unauthenticated("That is not the key of this box. Each start makes a new one.")
        response = RedirectResponse("/console", status_code=303)
        response.set_cookie(
            cookie,
            new_session(key_hash, time.time()),
            max_age=SESSION_S,
            path="/",
            secure=is_https(public_url),
            httponly=True,
            samesite="strict",
        )
        return response

    @router.post("/leave")
    async def leave(request: Request) -> Response:
        check_origin(request)
        response = RedirectResponse(ENTER_PATH, status_code=303)
        response.delete_cookie(cookie, path="/", secure=is_https(public_url), httponly=True, samesite="strict")
        return response
