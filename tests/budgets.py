"""Conversations with a running turn, and what the counters of budgets say, for tests of budgets."""

from dataclasses import dataclass

import psycopg

from subclaw.core.budget import Estimate
from subclaw.core.event import ModelReplied
from subclaw.core.model import Usage
from subclaw.core.tenant import TenantId
from subclaw.core.turn import Lease
from subclaw.store.database import DatabaseAddress, Role

Row = tuple[object, ...]


def owner_rows(address: DatabaseAddress, query: str, *parameters: object) -> list[Row]:
    with psycopg.connect(address.conninfo(Role.OWNER)) as connection:
        cursor = connection.execute(query.encode(), parameters)
        return cursor.fetchall() if cursor.description else []


def running(address: DatabaseAddress, *, tenants: int = 1, conversations: int = 1) -> list[Lease]:
    """Make tenants with conversations each, whose turns run."""
    rows = owner_rows(
        address,
        """
        WITH made AS (INSERT INTO tenant (name) SELECT 'tenant-' || n FROM generate_series(1, %s) n RETURNING id)
        INSERT INTO conversation (tenant_id, channel, address, owner, epoch, turn_open)
        SELECT made.id, 'web', made.id || ' ' || n, 1, 1, true FROM made, generate_series(1, %s) n
        RETURNING tenant_id, id
        """,
        tenants,
        conversations,
    )
    return [Lease(tenant_id=TenantId(int(str(a))), conversation_id=int(str(b)), epoch=1) for a, b in rows]


def call(tokens: int, microusd: int = 0, cheaper: int | None = None) -> Estimate:
    return Estimate(tokens=tokens, microusd=microusd, cheaper_microusd=microusd if cheaper is None else cheaper)


def replied(tokens: int, microusd: int = 0) -> ModelReplied:
    usage = Usage(model="m", input_tokens=tokens, output_tokens=0, cost_microusd=microusd)
    return ModelReplied(text="ok", calls=(), usage=usage)


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What a budget's counters hold together."""

    used: int
    reserved: int


def counted(address: DatabaseAddress, level: str, kind: str, subject: str = "*") -> Counted:
    ((used, reserved),) = owner_rows(
        address,
        "SELECT coalesce(sum(used), 0)::bigint, coalesce(sum(reserved), 0)::bigint FROM budget_counter"
        " WHERE level = %s::budget_level AND kind = %s::budget_kind AND subject = %s",
        level,
        kind,
        subject,
    )
    return Counted(used=int(str(used)), reserved=int(str(reserved)))
