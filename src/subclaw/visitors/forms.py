"""Forms: what a visitor sends to `/_/form/NAME` is kept, and the agent is told. A page needs no server for it."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from subclaw.core.errors import Exhausted
from subclaw.core.visit import HONEYPOT, NEXT, clean_fields, form_words, next_page, parse_name
from subclaw.pages.request import media_type
from subclaw.store.visitors import Taken, take_form
from subclaw.visitors.visitor import Visiting, read_fields


def forms_router(visiting: Visiting) -> APIRouter:
    """Return the route to which forms are sent."""
    router, render = visiting.router(), visiting.render()

    @router.post("/_/form/{form}")
    async def take(request: Request, form: str) -> Response:
        name, tenant_id = parse_name(form, "form"), await visiting.tenant_of(request)
        sent = await read_fields(request)
        given = dict(sent)
        if not given.get(HONEYPOT):
            fields = clean_fields(sent)
            words = form_words(name, fields)
            if await take_form(visiting.database, tenant_id, name, fields, words) is Taken.FULL:
                raise Exhausted("Too much was sent by this site's forms. Try again in an hour.")
        if media_type(request) == "application/json":
            return JSONResponse({"ok": True})
        if page := next_page(given.get(NEXT, "")):
            return RedirectResponse(page, status_code=303)
        return render("words.html", heading="Thank you", words="It was sent. You can go back.")

    return router
