"""`subclaw policy requests`, `approve` and `refuse`: what agents ask for that only the operator opens."""

from rich.console import Console

from subclaw.commands.lists import operator_database
from subclaw.commands.owners import ROWS, denials
from subclaw.commands.policy import at
from subclaw.commands.tables import show
from subclaw.config import Settings
from subclaw.core.access import REASON_LIMIT_CHARACTERS
from subclaw.core.errors import Invalid, NotFound
from subclaw.store.access_requests import decide_request, waiting_requests


async def list_requests(settings: Settings, console: Console, *, as_json: bool) -> None:
    """List the requests that wait, the oldest first."""
    async with operator_database(settings) as operator:
        found = await waiting_requests(operator, limit=ROWS)
    rows = [
        {
            "id": request.id,
            "tenant": request.tenant_name,
            "host": request.rule.host,
            "ports": ", ".join(map(str, request.rule.ports)),
            "methods": ", ".join(request.rule.methods),
            "paths": ", ".join(request.rule.paths),
            "reason": request.rule.comment,
            "asked": at(request.asked_at),
            "until": at(request.expires_at),
        }
        for request in found
    ]
    show(rows, console, as_json=as_json, none="No agent waits for a host.")


async def approve(settings: Settings, console: Console, id: int) -> None:
    """Let a tenant's machine reach what its agent asked for, and say what denies it nonetheless.

    Errors: `NotFound`, `Exhausted`.
    """
    async with operator_database(settings) as operator:
        request = next((one for one in await waiting_requests(operator, limit=ROWS) if one.id == id), None)
        if request is None:
            raise NotFound(f"No request {id} waits: see subclaw policy requests.")
        denied = await denials(operator, request.tenant_id, [request.rule])
        await decide_request(operator, id, approved=True)
    for line in (f"{request.rule.host} is allowed for the tenant {request.tenant_name}; its agent goes on.", *denied):
        console.print(line, soft_wrap=True, markup=False)


async def refuse(settings: Settings, console: Console, id: int, because: str) -> None:
    """Refuse what an agent asked for; it is told, with the reason if there is one. Errors: `Invalid`, `NotFound`."""
    reason = " ".join(because.split())
    if len(reason) > REASON_LIMIT_CHARACTERS or not reason.isprintable():
        raise Invalid(f"A reason has at most {REASON_LIMIT_CHARACTERS} characters, in one line.")
    async with operator_database(settings) as operator:
        await decide_request(operator, id, approved=False, because=reason)
    console.print(f"Request {id} is refused; the agent is told.", soft_wrap=True, markup=False)
