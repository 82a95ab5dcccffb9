"""Intake: what every channel hands its messages to."""

import random
from dataclasses import replace

from subclaw.core.channel import InboundMessage, Receipt
from subclaw.core.message import clean_text
from subclaw.core.tenant import propose_names
from subclaw.store import conversations
from subclaw.store.database import Database


class StoreIntake:
    """Cleans a message and stores it; the store wakes the conversation in the same transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._random = random.SystemRandom()

    async def receive(self, message: InboundMessage) -> Receipt:
        """See `core.channel.Intake`."""
        clean = replace(message, text=clean_text(message.text))
        return await conversations.receive(self._database, clean, propose_names(self._random))
