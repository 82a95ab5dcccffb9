"""A tenant: one isolated customer, with an agent, a machine and a hostname of its own."""

from dataclasses import dataclass
from typing import NewType

TenantId = NewType("TenantId", int)


@dataclass(frozen=True, kw_only=True)
class Tenant:
    """A tenant as the store knows it. `name` is a DNS label and the first part of its hostname."""

    id: TenantId
    name: str
