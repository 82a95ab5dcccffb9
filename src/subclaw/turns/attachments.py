"""Files that come with messages: fetched when a turn is about them, and put into the tenant's machine."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from subclaw.core.attachment import AttachmentClaimed, AttachmentKept, media_type_of, path_of
from subclaw.core.channel import ATTACHMENTS_LIMIT_BYTES, Channel, Fetches
from subclaw.core.errors import Exhausted, Invalid, NotFound, SubclawError
from subclaw.core.event import AttachmentsKept, MessageReceived
from subclaw.core.transcript import current_turn
from subclaw.core.turn import Lease
from subclaw.store.attachments import WaitingAttachment, forget_attachments, waiting_attachments
from subclaw.store.database import Database, LeaseLost
from subclaw.turns.attention import Attention, Halt
from subclaw.turns.journal import Journal
from subclaw.turns.long_message import Files

log = logging.getLogger(__name__)

_NOT_NOW = "it could not be fetched just now. Ask for it to be sent again."


@dataclass(frozen=True, kw_only=True)
class Attachments:
    """What it takes to put files into machines: where they wait, who fetches them, where they go."""

    database: Database
    channels: Mapping[str, Channel]
    files: Files


async def keep_attachments(
    attachments: Attachments | None, attention: Attention, lease: Lease, journal: Journal
) -> Halt | None:
    """Put the files that came with the messages of the turn into the machine, once each, and write down where.

    What cannot be had is told in words; it is not tried again, as the person may have to do something about it. All
    files of a message together are bounded. Returns why the turn does not go on, if something came in between.
    """
    if attachments is None:
        return None
    for message in _with_attachments(journal):
        kept = await attention.during(partial(_keep_all, attachments, lease, message), closing_waits=True)
        if isinstance(kept, Halt):
            return kept
        journal.add(AttachmentsKept(provider_id=message.provider_id, kept=kept))
        await journal.write()
        await forget_attachments(attachments.database, lease, message.provider_id)
    return None


def _with_attachments(journal: Journal) -> list[MessageReceived]:
    turn = current_turn(journal.events()) or ()
    kept = {event.provider_id for event in turn if isinstance(event, AttachmentsKept)}
    messages = (event for event in turn if isinstance(event, MessageReceived) and not event.turned_away)
    return [one for one in messages if one.attachments and one.provider_id not in kept]


async def _keep_all(attachments: Attachments, lease: Lease, message: MessageReceived) -> tuple[AttachmentKept, ...]:
    waiting = {one.number: one for one in await waiting_attachments(attachments.database, lease, message.provider_id)}
    left_bytes, kept = ATTACHMENTS_LIMIT_BYTES, []
    for number, claimed in enumerate(message.attachments):
        try:
            content = await _content(attachments, waiting.get(number), left_bytes)
            path = path_of(message.provider_id, number, claimed.name)
            await attachments.files.write(lease.tenant_id, path, content)
        except LeaseLost:
            raise
        except SubclawError as error:
            log.warning("a file that came with a message was not kept: %s", error.internal)
            kept.append(_missing(claimed, error))
            continue
        left_bytes -= len(content)
        kept.append(
            AttachmentKept(name=claimed.name, path=path, media_type=media_type_of(content), size_bytes=len(content))
        )
    return tuple(kept)


async def _content(attachments: Attachments, waiting: WaitingAttachment | None, limit_bytes: int) -> bytes:
    if waiting is None:
        raise NotFound("it was not kept for so long.")
    if waiting.content is not None:
        return waiting.content
    fetches = attachments.channels.get(waiting.channel)
    if not isinstance(fetches, Fetches):
        raise NotFound("files of this channel cannot be fetched.")
    return await fetches.fetch(waiting.handle, limit_bytes)


def _missing(claimed: AttachmentClaimed, error: SubclawError) -> AttachmentKept:
    problem = error.public if isinstance(error, Invalid | NotFound | Exhausted) else _NOT_NOW
    return AttachmentKept(name=claimed.name, problem=problem)
