"""Versioned migrations: numbered SQL files, each applied once, in order, in one transaction."""

from importlib.resources import files

from psycopg import sql

from subclaw.core.errors import Conflict
from subclaw.store.database import DatabaseAddress, Role, connect, translated

_LOCK = 0x5C1A
"""Advisory lock that two migrating processes meet at."""


def migrations() -> tuple[tuple[int, str], ...]:
    """Return the numbers and texts of the migrations that this version has, in order."""
    folder = files("subclaw.store") / "migrations"
    found = sorted((entry.name, entry.read_text()) for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return tuple((int(name.split("_")[0]), text) for name, text in found)


async def migrate(address: DatabaseAddress) -> int:
    """Bring the database up to this version and return the number of migrations that were applied.

    Errors: `Conflict` if the database is of a newer version; `Unavailable`.
    """
    known = migrations()
    connection = await connect(address, Role.OWNER)
    with translated():
        async with connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            await connection.execute(
                "CREATE TABLE IF NOT EXISTS migration (number integer PRIMARY KEY, at timestamptz DEFAULT now())"
            )
            cursor = await connection.execute("SELECT number FROM migration")
            applied = {number for (number,) in await cursor.fetchall()}
            if applied - {number for number, _ in known}:
                raise Conflict("The database was made by a newer subclaw. Run that version, or restore a backup.")
            wanted = [(number, text) for number, text in known if number not in applied]
            for number, text in wanted:
                await connection.execute(sql.SQL(text))
                await connection.execute("INSERT INTO migration (number) VALUES (%s)", [number])
            return len(wanted)
