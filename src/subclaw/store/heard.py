"""What was last heard from people."""

from subclaw.core.channel import Address, Heard
from subclaw.store.database import Database


async def last_heard(database: Database, address: Address) -> Heard | None:
    """Return what was last heard from an address; None if nothing was. Errors: `Unavailable`."""
    rows = await database.rows("SELECT * FROM last_heard(%s, %s)", address.channel, address.address)
    return Heard(provider_id=rows[0][0], at=rows[0][1]) if rows else None
