"""What was last heard from people."""

from collections.abc import Sequence
from datetime import datetime

from subclaw.core.channel import Address, Heard
from subclaw.store.database import Database


async def last_heard(database: Database, address: Address) -> Heard | None:
    """Return what was last heard from an address; None if nothing was. Errors: `Unavailable`."""
    rows = await database.rows("SELECT * FROM last_heard(%s, %s)", address.channel, address.address)
    return Heard(provider_id=rows[0][0], at=rows[0][1]) if rows else None


async def heard_lately(
    database: Database, channel: str, since: datetime, limit: int
) -> Sequence[tuple[Address, Heard]]:
    """Return where in a channel something was said since then, and what was said last there; the latest first.

    What was answered below the agent is not looked at. Errors: `Unavailable`.
    """
    rows = await database.rows("SELECT * FROM heard_lately(%s, %s, %s)", channel, since, limit)
    return [(Address(channel=channel, address=row[0]), Heard(provider_id=row[1], at=row[2])) for row in rows]
