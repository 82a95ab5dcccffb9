"""Notifications: written into the transcript of the conversation that they go to, once for each call."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict

from subclaw.core.channel import Address
from subclaw.core.errors import Exhausted, NotFound
from subclaw.core.notification import HOUR_LIMIT, TURN_LIMIT, Way
from subclaw.core.outgoing import OutgoingFile
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller
from subclaw.store.database import Database


class StoreNotifications:
    """See `core.notification.Notifications`. `sends` says whether a channel's replies go out by the outbox."""

    def __init__(self, database: Database, sends: Callable[[str], bool]) -> None:
        self._database = database
        self._sends = sends

    async def ways(self, caller: Caller) -> Sequence[Way]:
        """See `core.notification.Notifications.ways`."""
        rows = await self._database.rows(
            "SELECT * FROM ways_to_person(%s, %s)", caller.tenant_id, caller.conversation_id
        )
        return [
            Way(
                address=Address(channel=channel, address=address),
                is_here=is_here,
                is_preferred=number == 0,
                opted_out=opted_out,
            )
            for number, (channel, address, is_here, opted_out) in enumerate(rows)
        ]

    async def send(self, caller: Caller, to: Address, text: str, files: Sequence[OutgoingFile] = ()) -> None:
        """See `core.notification.Notifications.send`."""
        ((outcome, wait_s),) = await self._database.rows(
            "SELECT outcome, wait_s FROM send_notification(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            caller.tenant_id,
            caller.conversation_id,
            caller.call_id,
            caller.turn_id,
            to.channel,
            to.address,
            text,
            json.dumps([asdict(file) for file in files]),
            self._sends(to.channel),
            TURN_LIMIT,
            HOUR_LIMIT,
        )
        match outcome:
            case "turn":
                raise Exhausted(f"Not sent: {TURN_LIMIT} in one turn are the most. Say the rest in your reply.")
            case "hour":
                raise Exhausted(
                    f"Not sent: {HOUR_LIMIT} in an hour are the most. There is room again in {_minutes(wait_s)}; until "
                    "then, collect what is to be said and send it at once. If the person wants more, tell them so."
                )
            case "nowhere":
                raise NotFound("Not sent: the person is not reached there any more.")

    async def prefer(self, tenant_id: TenantId, address: Address) -> None:
        """See `core.notification.Notifications.prefer`."""
        await self._database.rows("SELECT prefer_way(%s, %s, %s)", tenant_id, address.channel, address.address)


def _minutes(seconds: float) -> str:
    minutes = max(1, -(-int(seconds) // 60))
    return f"{minutes} minute{'' if minutes == 1 else 's'}"
