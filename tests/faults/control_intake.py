"""Whoever takes control words: is told all of them, and kills itself at one of their fault points."""

import os
import signal
from datetime import UTC, datetime

from tests.faults.forked import run_process

from subclaw.core import fault
from subclaw.core.channel import Address, InboundMessage
from subclaw.core.fault import FaultPoint
from subclaw.store.database import Database, DatabaseAddress, Role, open_database
from subclaw.turns.intake import StoreIntake

PHONE = "+15550104567"


def take_words(address: DatabaseAddress, dies_at: int) -> None:
    """Have everything said, and die at the `dies_at`th point that is of a control word."""
    run_process(_take(address, dies_at))


async def _take(address: DatabaseAddress, dies_at: int) -> None:
    left = dies_at

    def die(point: FaultPoint) -> None:
        nonlocal left
        left -= point.startswith("control.")
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    async with open_database(address, Role.APP, size=1) as database:
        await _say(database, "web", "a", "1", "hello")
        fault.install(die)
        await _say(database, "web", "a", "2", "link")
        ((items,),) = await database.rows("SELECT items FROM read_feed('web', 'a', 0, 100)")
        await _say(database, "sms", PHONE, "3", items[0]["body"]["text"].split()[1])
        await _say(database, "sms", PHONE, "4", "STOP")
        await _say(database, "sms", PHONE, "5", "START")
        await _say(database, "web", "a", "6", "unlink 2")


async def _say(database: Database, channel: str, address: str, id: str, text: str) -> None:
    intake = StoreIntake(database, sends=lambda channel: channel != "web", public_url="http://localhost")
    sender = Address(channel=channel, address=address)
    await intake.receive(InboundMessage(sender=sender, provider_id=id, text=text, received_at=datetime.now(UTC)))
