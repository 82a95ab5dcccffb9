"""Taking a customer's data out, and erasing it; receipts of that."""

import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from subclaw.core.tenant import TenantId
from subclaw.store.database import Database

PAGE_ROWS = 100
_KEEP = "INSERT INTO erasure (id, agent, receipt) VALUES (%s, %s, %s)"


async def export_rows(database: Database, tenant_id: TenantId) -> AsyncGenerator[tuple[str, Mapping[str, Any]], None]:
    """Yield all rows of a customer, each with its table's name; neither seals nor hashes. Errors: `Unavailable`."""
    for (table,) in await database.rows("SELECT tables_of_customer()"):
        offset = 0
        while True:
            values = tenant_id, table, offset, PAGE_ROWS
            rows = await database.rows("SELECT export_customer(%s, %s, %s, %s)", *values)
            for (row,) in rows:
                yield table, row
            offset += len(rows)
            if len(rows) < PAGE_ROWS:
                break


async def erase_rows(database: Database, tenant_id: TenantId) -> Mapping[str, int] | None:
    """Erase all rows of a customer; return how many of which table, None if there is no such customer."""
    ((removed,),) = await database.rows("SELECT erase_customer(%s)", tenant_id)
    return None if removed is None else dict(removed)


async def keep_receipt(operator: Database, id: str, agent: str, receipt: Mapping[str, Any]) -> None:
    """Keep a receipt. In the operator's role, as the next one. Errors: `Unavailable`."""
    await operator.rows(_KEEP, id, agent, json.dumps(receipt))


async def receipt_of(operator: Database, id: str) -> tuple[str, Mapping[str, Any]] | None:
    """Return a receipt, and whose agent's customer it was. Errors: `Unavailable`."""
    rows = await operator.rows("SELECT agent, receipt FROM erasure WHERE id = %s", id)
    return (rows[0][0], dict(rows[0][1])) if rows else None
