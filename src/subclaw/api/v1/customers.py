"""`/v1/customers`: who they are, taking out all that is theirs, and erasing it."""

import json
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import StreamingResponse

from subclaw.api.v1.access import allowed
from subclaw.api.v1.inside import Inside, inside_of
from subclaw.api.v1.parts import CAN_FAIL, AgentId, Cursor, Limit, Page, Text, number_of, page_of
from subclaw.api.v1.route import ApiRoute
from subclaw.api.v1.streams import a_place, require_place
from subclaw.core.api_key import Principal, Scope
from subclaw.core.errors import NotFound
from subclaw.core.receipt import customer_hash, signed
from subclaw.store import owners
from subclaw.store.erasure import erase_rows, export_rows, keep_receipt, receipt_of
from subclaw.store.owners import LAST_ID, as_json

CustomerId = Annotated[int, Path(ge=1, le=LAST_ID, description="The customer, by the `id` that lists have.")]
Reading = Annotated[Principal, Depends(allowed(Scope.CUSTOMERS_READ))]


class Customer(BaseModel):
    """A customer of an agent."""

    id: int = Field(description="The customer's number here.")
    agent: str = Field(description="The agent.")
    customer: str = Field(description="Your own id of the customer.")
    since: datetime = Field(description="When the first session was opened.")
    is_suspended: bool = Field(description="Whether nothing of theirs is answered at the moment.")
    sessions: int = Field(description="How many sessions they have had.")


class Receipt(BaseModel):
    """What was removed of a customer, signed with Ed25519 by this installation.

    What is signed is the receipt without `signature`, as JSON in ASCII with sorted names and no spaces.
    """

    id: str = Field(description="Names the receipt.")
    agent: str = Field(description="The agent.")
    customer_sha256: str = Field(description="SHA-256 of the agent, a space, and your own id of the customer.")
    erased_at: str = Field(description="When, in UTC.")
    rows: dict[str, int] = Field(description="How many rows of which table were removed.")
    machine: bool = Field(description="Whether there was a machine, which was destroyed with its disk.")
    files: int = Field(description="How many published files were removed.")
    key: str = Field(description="The public key that checks the signature, in Base64.")
    signature: str = Field(description="The signature, in Base64.")


def customers_router() -> APIRouter:
    """Return the routes."""
    router = APIRouter(route_class=ApiRoute, responses=CAN_FAIL, tags=["customers"])
    _add_list(router)
    _add_export(router)
    _add_erasure(router)
    return router


def _add_list(router: APIRouter) -> None:
    @router.get("/customers", summary="List customers")
    async def customers(
        request: Request,
        principal: Reading,
        agent: Annotated[AgentId | None, Query(description="Only this agent's.")] = None,
        customer: Annotated[Text, Query(max_length=200, description="Only the one that you call so.")] = "",
        limit: Limit = 50,
        cursor: Cursor = "",
    ) -> Page[Customer]:
        """List customers, the newest first."""
        before = number_of(cursor, LAST_ID)
        found = await owners.customers(
            inside_of(request).operator,
            principal.agents,
            agent=agent or "",
            customer=customer,
            before=before,
            limit=limit,
        )
        return page_of(found, list(map(_shown, found)), limit, str(found[-1].tenant_id) if found else "")

    @router.get("/customers/{customer}", summary="Get a customer")
    async def one(request: Request, customer: CustomerId, principal: Reading) -> Customer:
        """Get one customer."""
        return _shown(await found_customer(inside_of(request), principal, customer))


def _add_export(router: APIRouter) -> None:
    lines = {"content": {"application/x-ndjson": {"schema": {"type": "string"}}}, "description": "Rows."}

    @router.get("/customers/{customer}/export", summary="Export a customer", responses={200: lines})
    async def export(request: Request, customer: CustomerId, principal: Reading) -> StreamingResponse:
        """Take out all that is stored of a customer, as lines of JSON: `{"table": …, "row": …}`.

        The last line is `{"end": true}`. Sealed secrets and what your server bound to sessions are not in it. The files
        of their machine, if the agent has given them one, are at `…/files`.
        """
        found = await found_customer(inside_of(request), principal, customer)
        require_place(request.app)
        return StreamingResponse(_lines(request, found), media_type="application/x-ndjson")

    tar = {"content": {"application/x-tar": {"schema": {"type": "string"}}}, "description": "Files."}

    @router.get("/customers/{customer}/files", summary="Export a customer's files", responses={200: tar})
    async def files(request: Request, customer: CustomerId, principal: Reading) -> StreamingResponse:
        """Take out the files of a customer's machine, as a tar. The machine is woken for that."""
        inside = inside_of(request)
        found = await found_customer(inside, principal, customer)
        require_place(request.app)
        pieces = inside.machine_files(found.tenant_id)
        first = await anext(pieces, None)  # what can go wrong, mostly goes wrong before an answer has begun
        if first is None:
            raise NotFound("This customer has no machine, and so no files.")
        return StreamingResponse(_tar(request, first, pieces), media_type="application/x-tar")


async def _tar(request: Request, first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
    async with a_place(request.app), aclosing(rest):
        yield first
        async for piece in rest:
            yield piece


async def _lines(request: Request, found: owners.Customer) -> AsyncIterator[bytes]:
    inside = inside_of(request)
    async with a_place(request.app), aclosing(export_rows(inside.database, found.tenant_id)) as rows:
        yield as_json({"agent": found.agent, "customer": found.customer, "since": found.since.isoformat()})
        async for table, row in rows:
            yield as_json({"table": table, "row": row})
        yield as_json({"end": True})


def _add_erasure(router: APIRouter) -> None:
    @router.delete("/customers/{customer}", summary="Erase a customer")
    async def erase(
        request: Request,
        customer: CustomerId,
        principal: Annotated[Principal, Depends(allowed(Scope.CUSTOMERS_WRITE))],
    ) -> Receipt:
        """Erase all that there is of a customer: rows, published files, the machine with its disk. It cannot be undone.

        The receipt says what was removed. If a part cannot be reached now, this fails, and can be called again.
        """
        inside = inside_of(request)
        return Receipt(**await _erased(inside, await found_customer(inside, principal, customer)))

    @router.get("/receipts/{receipt}", summary="Get a receipt")
    async def receipt(
        request: Request,
        receipt: Annotated[str, Path(pattern="^era_[A-Za-z0-9_-]{1,40}$")],
        principal: Reading,
    ) -> Receipt:
        """Get a receipt of erasure again."""
        kept = await receipt_of(inside_of(request).operator, receipt)
        if kept is None or not principal.sees(kept[0]):
            raise NotFound("There is no such receipt.")
        return Receipt(**json.loads(json.dumps(kept[1])))


async def _erased(inside: Inside, found: owners.Customer) -> dict[str, Any]:
    """Erase a customer, the rows last: while they are there, what went wrong can be done again."""
    had_machine = await inside.destroy_machine(found.tenant_id)
    files = await inside.remove_files(found.tenant_id)
    rows = await erase_rows(inside.database, found.tenant_id)
    if rows is None:
        raise NotFound("There is no such customer.")
    receipt = signed(
        {
            "id": f"era_{secrets.token_urlsafe(18)}",
            "agent": found.agent,
            "customer_sha256": customer_hash(found.agent, found.customer),
            "erased_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "rows": dict(rows),
            "machine": had_machine,
            "files": files,
        },
        inside.receipts,
    )
    await keep_receipt(inside.operator, str(receipt["id"]), found.agent, receipt)
    return receipt


async def found_customer(inside: Inside, principal: Principal, id: int) -> owners.Customer:
    """Return a customer whom a caller may see. Errors: `NotFound`, `Unavailable`."""
    # Ids are tenants' numbers: the page before id + 1 begins with it.
    before = min(id, LAST_ID - 1) + 1
    for found in await owners.customers(inside.operator, principal.agents, before=before, limit=1):
        if found.tenant_id == id:
            return found
    raise NotFound("There is no such customer.")


def _shown(found: owners.Customer) -> Customer:
    fields = {name: getattr(found, name) for name in Customer.model_fields if name != "id"}
    return Customer(id=found.tenant_id, **fields)
