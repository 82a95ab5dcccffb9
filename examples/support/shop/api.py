"""The shop's own API, as its support agent calls it: with a token of the shop's, about one customer at a time."""

import secrets
from decimal import Decimal
from typing import Annotated

from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, Field, PlainSerializer, WithJsonSchema

from examples.support.shop.orders import Books, NotPossible, NotYours, Order

Euros = Annotated[
    Decimal,
    Field(gt=0, max_digits=7, decimal_places=2),
    PlainSerializer(float),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0}),
]
Words = Annotated[str, Field(min_length=1, max_length=1_000)]
Key = Annotated[str, Header(alias="Idempotency-Key", min_length=1, max_length=200)]


class OrderStatus(BaseModel):
    """An order, and where it is."""

    order: str
    what: str
    total: Euros
    state: str


class WantedRefund(BaseModel):
    """What is to be paid back."""

    amount: Annotated[Euros, Field(description="In euros, at most what the order cost.")]
    reason: Annotated[Words, Field(description="Why, in a few words of the customer's.")]


class MadeRefund(BaseModel):
    """What was paid back."""

    refund: str
    order: str
    amount: Euros


class Escalation(BaseModel):
    """What a person is to see to."""

    about: Annotated[Words, Field(description="What the customer wants, and what was tried.")]


class CallBack(Escalation):
    """Whom a person is to call, and why."""

    phone: Annotated[str, Field(pattern=r"^\+?[0-9 ()/-]{5,30}$", description="The customer's number.")]


class Taken(BaseModel):
    """What was handed over."""

    ticket: str
    next: str


def shop_api(books: Books, key: str) -> FastAPI:
    """Return the API; `key` is the bearer token that opens it."""

    def require_key(given: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> None:
        if not secrets.compare_digest(given.credentials.encode(), key.encode()):
            raise HTTPException(401, "The token is wrong.")

    api = FastAPI(
        title="Leaf & Kettle",
        version="1",
        dependencies=[Depends(require_key)],
        generate_unique_id_function=lambda route: route.name,
    )

    @api.exception_handler(NotYours)
    async def not_yours(_: Request, error: NotYours) -> JSONResponse:
        return JSONResponse({"detail": "This customer has no order of that number."}, 404)

    @api.exception_handler(NotPossible)
    async def not_possible(_: Request, error: NotPossible) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 409)

    @api.get("/customers/{customer}/orders")
    async def list_orders(customer: str) -> list[OrderStatus]:
        """List the orders of the customer, with where each is."""
        return [_status(order) for order in books.orders_of(customer)]

    @api.get("/customers/{customer}/orders/{order}")
    async def order_status(customer: str, order: str) -> OrderStatus:
        """Say what is in an order of the customer's, what it cost, and where it is."""
        return _status(books.order(customer, order))

    @api.post("/customers/{customer}/orders/{order}/refunds", status_code=201)
    async def refund(customer: str, order: str, body: WantedRefund, key: Key) -> MadeRefund:
        """Pay money back for an order of the customer's."""
        made = books.refund(customer, order, body.amount, body.reason, key=key)
        return MadeRefund(refund=made.number, order=made.order, amount=made.amount)

    @api.post("/customers/{customer}/tickets", status_code=201)
    async def escalate(customer: str, body: Escalation, key: Key) -> Taken:
        """Hand the conversation over to a person of the shop, who answers by e-mail."""
        ticket = books.hand_over(customer, body.about, key=key)
        return Taken(ticket=ticket.number, next="Somebody writes an e-mail within one working day.")

    @api.post("/customers/{customer}/calls", status_code=201)
    async def call_back(customer: str, body: CallBack, key: Key) -> Taken:
        """Have a person of the shop call the customer back within the hour."""
        ticket = books.hand_over(customer, body.about, body.phone, key=key)
        return Taken(ticket=ticket.number, next="Somebody calls within the hour.")

    return api


def _status(order: Order) -> OrderStatus:
    return OrderStatus(order=order.number, what=order.what, total=order.total, state=order.state)
