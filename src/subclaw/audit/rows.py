"""Every row of the database, searched: as its owner in all tables, and as each role in all that this may read.

Tables and columns come from the catalogue, so that one that is made tomorrow is searched, too.
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import cast

from psycopg import sql

from subclaw.audit.watch import SEALED, UNSEEN, Watch
from subclaw.store.database import Connection, DatabaseAddress, Role, connect

MATCHES_LIMIT = 100_000
"""Most rows of a table that are looked at, of those in which there is a canary."""
BOUND = ("session", "binding")
"""The one column in which a binding is kept."""

_COLUMNS = """
    SELECT n.nspname, c.relname, array_agg(a.attname::text ORDER BY a.attnum)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relkind IN ('r', 'v', 'm') AND n.nspname NOT IN ('information_schema', 'pg_catalog', 'pg_toast')
        AND has_schema_privilege(%(role)s, n.oid, 'USAGE') AND has_column_privilege(%(role)s, c.oid, a.attnum, 'SELECT')
    GROUP BY 1, 2 ORDER BY 1, 2
"""

Tables = Sequence[tuple[str, str, Sequence[str]]]


async def search_rows(address: DatabaseAddress, watch: Watch, owners: Mapping[int, int], *, area: str = "rows") -> None:
    """Search all tables and columns. `owners` are the customers by their tenants' numbers. Errors: `Unavailable`."""
    async with await connect(address, Role.OWNER) as connection:
        for schema, table, _ in await _tables(connection, Role.OWNER):
            async for row in _matching(connection, watch, schema, table):
                owner = owners.get(_tenant_of(table, row))
                for column, value in row.items():
                    closed = SEALED if (table, column) == BOUND else UNSEEN
                    text = value if isinstance(value, str) else json.dumps(value)
                    watch.look(text, area=area, place=f"table {table}, column {column}", owner=owner, closed=closed)
            watch.searched[area] += 1


async def search_as_customers(address: DatabaseAddress, watch: Watch, owners: Mapping[int, int]) -> None:
    """Read, as the application does for each customer, all that it may: nothing in it may be another's."""
    async with await connect(address, Role.APP) as connection:
        query = _union(await _tables(connection, Role.APP))
        for tenant_id, owner in owners.items():
            await connection.execute("SELECT set_config('subclaw.tenant', %s, false)", [str(tenant_id)])
            async for table, text in await connection.execute(query, {"pattern": watch.canaries.pattern()}):
                place = f"table {table}, read as another customer"
                watch.look(text, area="rows as customers", place=place, owner=owner, closed=SEALED)
            watch.tried["rows as a customer"] += 1


async def search_as_role(address: DatabaseAddress, watch: Watch, role: Role) -> None:
    """Read all that a role may which works for everybody: it sees figures and states, and no words."""
    async with await connect(address, role) as connection:
        tables = await _tables(connection, role)
        watch.searched["rows as roles"] += 1
        if not tables:
            return
        query = _union(tables)
        async for table, text in await connection.execute(query, {"pattern": watch.canaries.pattern()}):
            place = f"table {table}, read as {role.value}"
            watch.look(text, area="rows as roles", place=place, owner=None)


async def _tables(connection: Connection, role: Role) -> Tables:
    ((me,),) = await (await connection.execute("SELECT current_user::text")).fetchall()
    cursor = await connection.execute(_COLUMNS, {"role": role.value or me})
    return await cursor.fetchall()


async def _matching(
    connection: Connection, watch: Watch, schema: str, table: str
) -> AsyncIterator[Mapping[str, object]]:
    """Yield the rows of a table in which there is a canary."""
    query = sql.SQL("SELECT to_jsonb(x) FROM {} x WHERE x::text ~* %(pattern)s LIMIT {}").format(
        sql.Identifier(schema, table), sql.Literal(MATCHES_LIMIT)
    )
    cursor = await connection.execute(query, {"pattern": watch.canaries.pattern()})
    async for (row,) in cursor:
        yield row


def _union(tables: Tables) -> sql.Composed:
    """Return the query for the rows in which there is a canary, in all tables at once: of each, table and text."""
    parts = []
    for schema, table, columns in tables:
        text = sql.SQL("concat_ws(' ', {})").format(sql.SQL(", ").join(map(_as_text, columns)))
        part = sql.SQL("SELECT {} AS place, {} AS said FROM {}")
        parts.append(part.format(sql.Literal(table), text, sql.Identifier(schema, table)))
    return sql.SQL("SELECT place, said FROM ({}) every WHERE said ~* %(pattern)s").format(
        sql.SQL(" UNION ALL ").join(parts)
    )


def _as_text(column: str) -> sql.Composed:
    return sql.SQL("{}::text").format(sql.Identifier(column))


def _tenant_of(table: str, row: Mapping[str, object]) -> int:
    """Return whose row this is; 0 is nobody's."""
    return cast(int, row.get("id" if table == "tenant" else "tenant_id") or 0)
