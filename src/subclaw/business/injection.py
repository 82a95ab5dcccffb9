"""Injection: what identifies a customer goes into a call on the host, from the session, whatever a model writes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from subclaw.core.business import CustomerSession
from subclaw.core.errors import Denied, Invalid
from subclaw.core.tool_constraint import look_up

CUSTOMER = "customer"
"""What of a binding is there in any case: what the agent's owner calls the customer."""


@dataclass(frozen=True, kw_only=True)
class BoundParameters:
    """Parameters of a tool, by their paths in its arguments, and where in a session's binding each value is."""

    places: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()


def bound_parameters(places: Mapping[str, str]) -> BoundParameters:
    """Return what paths of parameters are bound to: `{"body.customer": "ids.customer"}`. Errors: `Invalid`."""
    pairs = tuple((tuple(where.split(".")), tuple(what.split("."))) for where, what in places.items())
    if not all(step for pair in pairs for path in pair for step in path):
        raise Invalid("a bound parameter has an empty name")
    return BoundParameters(places=pairs)


def binding_of(session: CustomerSession) -> Mapping[str, Any]:
    """Return what a session is bound to, and the customer. What the owner's server said goes before."""
    return {CUSTOMER: session.customer, **session.binding}


def values_for(bound: BoundParameters, session: CustomerSession) -> dict[tuple[str, ...], Any]:
    """Return what goes where. Errors: `Denied` if the session is not bound to it."""
    binding = binding_of(session)
    values: dict[tuple[str, ...], Any] = {}
    for where, what in bound.places:
        there, value = look_up(binding, what)
        if not there:
            raise Denied(f"This session is not bound to {'.'.join(what)!r}, which the tool needs.")
        values[where] = value
    return values


def injected(arguments: Mapping[str, Any], values: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    """Return arguments with values in their places, over whatever is there."""
    result: dict[str, Any] = dict(arguments)
    for where, value in values.items():
        inner = result
        for step in where[:-1]:
            below = inner.get(step)
            inner[step] = dict(below) if isinstance(below, Mapping) else {}
            inner = inner[step]
        inner[where[-1]] = value
    return result
