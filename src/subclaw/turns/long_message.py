"""Messages that are too long to be told whole: put in a file of the tenant's, where the agent reads what it needs."""

import hashlib
import logging
from functools import partial
from typing import Protocol

from subclaw.core.errors import SubclawError
from subclaw.core.event import MessageKept, MessageReceived
from subclaw.core.machine import HOME
from subclaw.core.tenant import TenantId
from subclaw.core.tokens import BYTES_PER_TOKEN
from subclaw.core.transcript import current_turn
from subclaw.turns.attention import Attention, Halt
from subclaw.turns.journal import Journal

log = logging.getLogger(__name__)

WHOLE_CHARACTERS = 32_000
"""Longest message that is told whole, unless a quarter of the window is less."""

SHOWN_PART = 6
"""One part in so many of that is shown of the beginning of a longer one, and as much of its end."""


class Files(Protocol):
    """Where a tenant's files are; `core.machine.Machines` is it."""

    async def write(self, tenant_id: TenantId, path: str, content: bytes) -> None:
        """See `core.machine.Machines.write`."""
        ...


async def keep_long_messages(
    files: Files | None, attention: Attention, tenant_id: TenantId, window_tokens: int, journal: Journal
) -> Halt | None:
    """Put the long messages of the turn in files, once each, and write down where.

    Without files, or when the machine cannot be had, a message is cut. Each time it is tried the file is the same.
    Returns why the turn does not go on, if something came in between.
    """
    limit_characters = min(WHOLE_CHARACTERS, window_tokens // 4 * BYTES_PER_TOKEN)
    for message in _long_messages(journal, limit_characters):
        keep = partial(_keep, files, tenant_id, message)
        path = await attention.during(keep, closing_waits=True)
        if isinstance(path, Halt):
            return path
        shown_characters = limit_characters // SHOWN_PART
        journal.add(MessageKept(provider_id=message.provider_id, path=path, shown_characters=shown_characters))
        await journal.write()
    return None


def _long_messages(journal: Journal, limit_characters: int) -> list[MessageReceived]:
    """Return the messages of the turn that are to be put in files and are not yet."""
    turn = current_turn(journal.events()) or ()
    kept = {event.provider_id for event in turn if isinstance(event, MessageKept)}
    messages = (event for event in turn if isinstance(event, MessageReceived) and not event.turned_away)
    return [one for one in messages if len(one.text) > limit_characters and one.provider_id not in kept]


def path_of(message: MessageReceived) -> str:
    """Return the file that a message is put in: its own, whatever the channel calls it."""
    return f"{HOME}/messages/{hashlib.sha256(message.provider_id.encode()).hexdigest()[:16]}.txt"


async def _keep(files: Files | None, tenant_id: TenantId, message: MessageReceived) -> str:
    """Return the path of the file, or nothing if it could not be written."""
    if files is None:
        return ""
    path = path_of(message)
    try:
        await files.write(tenant_id, path, message.text.encode())
    except SubclawError as error:
        log.warning("a long message was not put in a file: %s", error.internal)
        return ""
    return path
