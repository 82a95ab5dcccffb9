"""Reports of abuse: every site has a page at `/_/report`, by which visitors tell the operator."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from subclaw.core.errors import Exhausted, Invalid
from subclaw.core.visit import REPORT_PATH
from subclaw.store.visitors import report_abuse
from subclaw.visitors.visitor import Visiting, hostname_of, read_fields

REASON_LIMIT_CHARACTERS = 2_000


def reports_router(visiting: Visiting) -> APIRouter:
    """Return the page, and what it sends."""
    router, render = visiting.router(), visiting.render()

    @router.get(REPORT_PATH)
    async def ask(request: Request) -> Response:
        await visiting.tenant_of(request)
        return render("report.html", hostname=hostname_of(request), limit=REASON_LIMIT_CHARACTERS)

    @router.post(REPORT_PATH)
    async def take(request: Request) -> Response:
        tenant_id, fields = await visiting.tenant_of(request), dict(await read_fields(request))
        reason = " ".join(fields.get("reason", "").split())[:REASON_LIMIT_CHARACTERS]
        if not reason:
            raise Invalid("Say in a sentence what is wrong with this site.")
        page = f"{hostname_of(request)}{fields.get('page', '')[:500]}"
        contact = " ".join(fields.get("contact", "").split())[:200]
        if not await report_abuse(visiting.database, tenant_id, page=page, reason=reason, contact=contact):
            raise Exhausted("This site was reported many times today. Whoever runs this host will look at it.")
        return render("words.html", heading="Thank you", words="Whoever runs this host has been told.")

    return router
