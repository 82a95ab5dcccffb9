"""Making a started private cluster ready: the database, and the roles' leave to log in by peer authentication."""

import asyncio

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from subclaw.core.errors import Denied, Unavailable
from subclaw.store.cluster import DATABASE
from subclaw.store.database import DatabaseAddress, Role, connect, translated
from subclaw.store.migrate import migrate

_POLL_S = 0.05


async def provision(address: DatabaseAddress, *, timeout_s: float) -> None:
    """Wait for the database, make what is missing in it, and migrate it.

    Errors: `Unavailable`, `Conflict`, and `Denied` if its user may not do what that takes.
    """
    if not address.private:
        await _migrate_shared(address)
        return
    await _wait_for_server(make_conninfo(address.url, dbname="postgres"), timeout_s)
    await _make_database(make_conninfo(address.url, dbname="postgres"))
    await migrate(address)
    await _let_roles_log_in(address)


async def _migrate_shared(address: DatabaseAddress) -> None:
    """Migrate the operator's own database, and say of one that cannot be used what is the matter with it."""
    try:
        await migrate(address)
    except Unavailable as error:
        reason = error.internal.rpartition("failed: ")[2].replace("\n", " ").strip()[:300]
        raise Unavailable(f"The database of DATABASE_URL cannot be reached: {reason}.") from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise Denied(
            "The user of DATABASE_URL needs CREATEROLE, and CREATE in the database and in its schema public.",
            internal=str(error),
        ) from error


async def _wait_for_server(conninfo: str, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    await (await psycopg.AsyncConnection.connect(conninfo)).close()
                except psycopg.OperationalError:
                    await asyncio.sleep(_POLL_S)
                else:
                    return
    except TimeoutError as error:
        raise Unavailable(f"The database did not start within {timeout_s:.0f} s.") from error


async def _make_database(conninfo: str) -> None:
    with translated():
        async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
            cursor = await connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE])
            if not await cursor.fetchall():
                await connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))


async def _let_roles_log_in(address: DatabaseAddress) -> None:
    with translated():
        async with await connect(address, Role.OWNER) as connection:
            for role in (Role.APP, Role.OPERATOR, Role.EGRESS, Role.HOST):
                await connection.execute(sql.SQL("ALTER ROLE {} LOGIN").format(sql.Identifier(role.value)))
