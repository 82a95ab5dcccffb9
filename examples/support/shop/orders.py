"""The shop's books, in memory: orders, refunds, and what was handed over to people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

CUSTOMERS: Mapping[str, str] = {"ada": "Ada Okafor", "ben": "Ben Sato", "cleo": "Cleo Ruiz"}
"""The names of those who can sign in, by what the shop calls them."""


class NotYours(Exception):
    """There is no such order of this customer's. Whether somebody else has it is not said."""


class NotPossible(Exception):
    """The books do not allow it; the words say why."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """An order; `total` is in euros."""

    number: str
    customer: str
    what: str
    total: Decimal
    state: str


@dataclass(frozen=True, kw_only=True)
class Refund:
    """Money that goes back for an order, in euros."""

    number: str
    order: str
    amount: Decimal
    reason: str


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """What a person has to see to: an answer to write, or a call to make if there is a `phone`."""

    number: str
    customer: str
    about: str
    phone: str = ""


def _orders() -> dict[str, Order]:
    rows = (
        ("1001", "ada", "Tea towels, set of 4", "32.00", "delivered on Monday"),
        ("1002", "ada", "Cast-iron kettle", "89.00", "delivered on Tuesday"),
        ("2001", "ben", "Teapot with two cups", "64.00", "being packed"),
        ("3001", "cleo", "Sencha, 250 g", "18.50", "on its way, due tomorrow"),
    )
    return {
        number: Order(number=number, customer=customer, what=what, total=Decimal(total), state=state)
        for number, customer, what, total, state in rows
    }


@dataclass(kw_only=True)
class Books:
    """All that the shop knows. Every method is about one customer, and finds what is that customer's alone."""

    orders: dict[str, Order] = field(default_factory=_orders)
    refunds: dict[tuple[str, str], Refund] = field(default_factory=dict)
    tickets: dict[tuple[str, str], Ticket] = field(default_factory=dict)

    def orders_of(self, customer: str) -> Sequence[Order]:
        """Return a customer's orders."""
        return [order for order in self.orders.values() if order.customer == customer]

    def order(self, customer: str, number: str) -> Order:
        """Return an order of a customer's. Raises `NotYours`."""
        order = self.orders.get(number)
        if order is None or order.customer != customer:
            raise NotYours
        return order

    def refund(self, customer: str, number: str, amount: Decimal, reason: str, *, key: str) -> Refund:
        """Pay something of an order back, once for each `key`. Raises `NotYours`, `NotPossible`."""
        order = self.order(customer, number)
        if (known := self.refunds.get((customer, key))) is not None:
            if (known.order, known.amount) != (number, amount):
                raise NotPossible("That key was used for another refund.")
            return known
        left = order.total - sum(each.amount for each in self.refunds.values() if each.order == number)
        if amount > left:
            raise NotPossible(f"Of order {number} at most {left} euros can be refunded.")
        refund = Refund(number=f"R-{len(self.refunds) + 1}", order=number, amount=amount, reason=reason)
        self.refunds[customer, key] = refund
        return refund

    def hand_over(self, customer: str, about: str, phone: str = "", *, key: str) -> Ticket:
        """Note what a person has to see to, once for each `key`."""
        number = f"T-{len(self.tickets) + 1}"
        ticket = Ticket(number=number, customer=customer, about=about, phone=phone)
        return self.tickets.setdefault((customer, key), ticket)
