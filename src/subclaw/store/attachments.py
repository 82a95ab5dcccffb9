"""Files that came with messages, until a turn has put them into the machine."""

from dataclasses import dataclass

from subclaw.core.turn import Lease
from subclaw.store.database import Database


@dataclass(frozen=True, kw_only=True)
class WaitingAttachment:
    """A file of a message: its content, or what its channel fetches it by. `number` counts from 0."""

    channel: str
    number: int
    handle: str
    content: bytes | None


async def waiting_attachments(database: Database, lease: Lease, provider_id: str) -> tuple[WaitingAttachment, ...]:
    """Return the files of a message, in order. Errors: `LeaseLost`."""
    rows = await database.rows("SELECT * FROM waiting_attachments(%s, %s, %s, %s)", *_key(lease), provider_id)
    return tuple(
        WaitingAttachment(channel=channel, number=number, handle=handle, content=content)
        for channel, number, handle, content in rows
    )


async def forget_attachments(database: Database, lease: Lease, provider_id: str) -> None:
    """Forget the files of a message. Errors: `LeaseLost`."""
    await database.rows("SELECT forget_attachments(%s, %s, %s, %s)", *_key(lease), provider_id)


def _key(lease: Lease) -> tuple[int, int, int]:
    return lease.tenant_id, lease.conversation_id, lease.epoch
