"""Connections: where the database is, as which role one speaks to it, a pool, and PostgreSQL's errors in our words."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, LiteralString

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from subclaw.core.errors import Conflict, NotFound, Unavailable

POOL_SIZE = min(8, 2 * (os.cpu_count() or 4))
"""Connections of a pool. They are used in turn, so more than the processors keep busy only make their caches cold."""

CONNECT_TIMEOUT_S = 10

SILENCE_LIMIT_S = 8
"""For how long the other end of a TCP connection may be silent. A host that vanished in the middle of a turn has said
no goodbye: its session, which proves its workers alive, ends after that, and others take its turns over."""

_IDLE_S, _INTERVAL_S, _PROBES = 4, 2, 2
"""A silent connection is probed after 4 s, and given up when two probes, 2 s apart, had no answer. Probes go out only
while nothing else does; `tcp_user_timeout` is for what was sent and not acknowledged."""

_WATCHED_HERE = {
    "keepalives_idle": _IDLE_S,
    "keepalives_interval": _INTERVAL_S,
    "keepalives_count": _PROBES,
    "tcp_user_timeout": 1000 * SILENCE_LIMIT_S,
}
_WATCHED_THERE = {
    "tcp_keepalives_idle": _IDLE_S,
    "tcp_keepalives_interval": _INTERVAL_S,
    "tcp_keepalives_count": _PROBES,
    "tcp_user_timeout": 1000 * SILENCE_LIMIT_S,
}

_PLANNED_ONCE = {"plan_cache_mode": "force_generic_plan"}
"""Every statement of a turn finds its rows by a key: to plan it anew for each key takes longer than to run it."""

Connection = psycopg.AsyncConnection[TupleRow]


class Role(StrEnum):
    """Who speaks to the database; row-level security goes by it."""

    OWNER = ""
    APP = "subclaw_app"
    OPERATOR = "subclaw_operator"
    EGRESS = "subclaw_egress"
    HOST = "subclaw_host"


@dataclass(frozen=True, kw_only=True)
class DatabaseAddress:
    """Where the database is. `url` is a libpq connection string; `private` says that subclaw runs it itself.

    In a private cluster the operating system's user decides which role it may take (peer authentication); in a shared
    one the user of the URL takes the role upon itself, and row-level security holds all the same.
    """

    url: str
    private: bool

    def conninfo(self, role: Role, *, flushes: bool = True) -> str:
        """Return the connection string for a role. What commits and does not flush is on disk a moment later."""
        extra: dict[str, Any] = {"application_name": f"subclaw {role.name.lower()}"}
        settings: dict[str, int | str] = {}
        if role is Role.APP:
            settings |= _PLANNED_ONCE
        if not flushes:
            settings |= {"synchronous_commit": "off"}
        if not self.private:
            extra |= _WATCHED_HERE
            settings |= _WATCHED_THERE
        if role is not Role.OWNER and self.private:
            extra |= {"user": role.value}
        elif role is not Role.OWNER:
            settings |= {"role": role.value}
        extra["options"] = " ".join(f"-c {name}={value}" for name, value in settings.items())
        return make_conninfo(self.url, connect_timeout=CONNECT_TIMEOUT_S, **extra)


class LeaseLost(Conflict):
    """Somebody else owns the conversation now; stop, and write nothing more."""


class Stranger(NotFound):
    """Whoever wrote has no tenant, and nothing was stored."""


class Database:
    """A pool of connections in one role. Statements are prepared, and each is its own transaction."""

    def __init__(self, pool: AsyncConnectionPool[Connection], wait_s: float = CONNECT_TIMEOUT_S) -> None:
        self._pool = pool
        self._wait_s = wait_s
        self._places = asyncio.Semaphore(pool.max_size)

    async def rows(self, query: LiteralString, *parameters: object) -> Sequence[TupleRow]:
        """Run one statement and return its rows.

        Errors: `LeaseLost` from a fenced write, `Unavailable` if the database cannot be had.
        """
        with translated():
            connection = await self._take()
            try:
                cursor = await connection.execute(query, parameters)
                return [] if cursor.rownumber is None else await cursor.fetchall()  # `description` takes longer
            finally:
                await self._give_back(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Run several statements in one transaction, which ends with the block: undone if that raises.

        Errors: `Unavailable` if the database cannot be had.
        """
        with translated():
            connection = await self._take()
            try:
                async with connection.transaction():
                    yield connection
            finally:
                await self._give_back(connection)

    async def _take(self) -> Connection:
        """Take a connection out of the pool. The pool's own block would end a transaction, and there is none."""
        await self._wait_for_place()
        try:
            return await self._take_free()
        except BaseException:
            self._places.release()
            raise

    async def _wait_for_place(self) -> None:
        """Wait until a connection is free. To wait in the pool itself takes about as long as a statement."""
        if not self._places.locked():
            await self._places.acquire()
            return
        try:
            async with asyncio.timeout(self._wait_s):
                await self._places.acquire()
        except TimeoutError as error:
            raise PoolTimeout(f"no connection was free for {self._wait_s} s") from error

    async def _take_free(self) -> Connection:
        task = asyncio.current_task()
        assert task is not None
        cancelled_before = task.cancelling()
        connection = await self._pool.getconn()
        # The pool waits by asyncio.wait_for, which up to Python 3.11 loses a cancellation that comes together with what
        # is waited for (https://github.com/python/cpython/issues/86296).
        if task.cancelling() > cancelled_before:
            await self._pool.putconn(connection)
            raise asyncio.CancelledError
        return connection

    async def _give_back(self, connection: Connection) -> None:
        try:
            await self._pool.putconn(connection)
        finally:
            self._places.release()


@asynccontextmanager
async def open_database(
    address: DatabaseAddress,
    role: Role,
    *,
    size: int = POOL_SIZE,
    flushes: bool = True,
    wait_s: float = CONNECT_TIMEOUT_S,
) -> AsyncIterator[Database]:
    """Open a pool for the life of the block. If it does not flush, whoever commits waits for the disk by `Flush`.

    Whoever finds no connection free waits for `wait_s`, and is then told that the database cannot be had.
    """
    pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
        address.conninfo(role, flushes=flushes),
        min_size=1,
        max_size=size,
        timeout=CONNECT_TIMEOUT_S,
        kwargs={"autocommit": True, "prepare_threshold": 1},
        open=False,
    )
    with translated():
        await pool.open(wait=True, timeout=CONNECT_TIMEOUT_S)
    try:
        yield Database(pool, wait_s)
    finally:
        await pool.close()


async def connect(address: DatabaseAddress, role: Role) -> Connection:
    """Open one connection of one's own, for a lock or for notifications."""
    with translated():
        return await psycopg.AsyncConnection.connect(address.conninfo(role), autocommit=True)


@contextmanager
def translated() -> Iterator[None]:
    """Turn PostgreSQL's errors into ours, once."""
    try:
        yield
    except (psycopg.Error, PoolTimeout) as error:
        raise _ours(error) from error


def _ours(error: psycopg.Error | PoolTimeout) -> Exception:
    match error:
        case psycopg.Error(sqlstate="SC001"):
            return LeaseLost("Another worker has taken this conversation over.")
        case psycopg.Error(sqlstate="SC002"):
            return Stranger("There is nobody of that address.")
        case psycopg.errors.DiskFull() | psycopg.errors.OutOfMemory():
            return Unavailable("The database is out of space.", internal=str(error))
        case psycopg.OperationalError() | PoolTimeout():
            return Unavailable("The database cannot be reached.", internal=str(error))
        case _:
            return error
