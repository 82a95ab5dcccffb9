"""Intake: what every channel hands its messages to."""

import random
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from subclaw.core.access import TOKEN_BYTES, secret_link, token_hash
from subclaw.core.access_words import removal_notice
from subclaw.core.attachment import NAME_LIMIT_CHARACTERS
from subclaw.core.channel import (
    ATTACHMENTS_LIMIT,
    ATTACHMENTS_LIMIT_BYTES,
    Attachment,
    InboundMessage,
    Receipt,
)
from subclaw.core.consent import Said
from subclaw.core.control import Control, read_control
from subclaw.core.errors import Invalid
from subclaw.core.intake_limits import CROWDED, IntakeLimits
from subclaw.core.key_shapes import redact
from subclaw.core.message import clean_name, clean_text, is_stop
from subclaw.core.tenant import propose_names
from subclaw.store import conversations
from subclaw.store.admission import admit, admit_and_receive
from subclaw.store.conversations import Removal
from subclaw.store.database import Database, Stranger
from subclaw.turns.control import take_control
from subclaw.turns.reception import Reception

LINKS_LIMIT = 4
"""Most links that one notice has: one for each kind of key in the message."""


class StoreIntake:
    """Cleans a message, takes keys out of it and stores it; the store wakes the conversation in the same transaction.

    What people say to subclaw itself is taken before that (`turns.control`), and so is what is too much by `limits`.
    `sends` says whether a channel's replies go out by the outbox (others are read from the transcript); `public_url` is
    where people reach the control plane: links that they are given lead there.
    `reception` meets strangers, and answers what is for the platform itself; without one, everybody is let in.
    `flushed` returns once what the database has committed is on disk, if its commits do not wait for that themselves:
    nobody hears that a message is kept, or refused, before.
    """

    def __init__(
        self,
        database: Database,
        *,
        sends: Callable[[str], bool],
        public_url: str,
        limits: IntakeLimits | None = None,
        reception: Reception | None = None,
        flushed: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._database = database
        self._limits = limits
        self._reception = reception
        self._flushed = flushed
        self._sends = sends
        self._public_url = public_url
        self._random = random.SystemRandom()

    async def receive(self, message: InboundMessage) -> Receipt:
        """See `core.channel.Intake`."""
        try:
            receipt = await self._take(message)
        except Invalid:
            await self._flush()
            raise
        await self._flush()
        return receipt

    async def _flush(self) -> None:
        if self._flushed is not None:
            await self._flushed()

    async def _take(self, message: InboundMessage) -> Receipt:
        text, kinds = redact(_text(message))
        files = _bounded(message.attachments)
        clean = replace(message, text=text, speaker=_speaker(message.speaker), attachments=files)
        # Where several write, nobody speaks for all of them: there these are words for the agent.
        control = None if clean.speaker else read_control(clean.sender.channel, text)
        if control or kinds or _is_more_than_words(clean) or (self._reception and self._reception.may_answer(clean)):
            receipt = await self._kept_back(clean, control)
        else:
            receipt = await self._stored_at_once(clean)
        if receipt:
            return receipt
        if self._reception is None:
            return await self._store(clean, kinds, propose_names(self._random))
        if (answered := await self._reception.hear(clean) or await self._reception.count(clean)) is not None:
            return answered
        try:
            return await self._store(clean, kinds, ())
        except Stranger:
            admitted = await self._reception.admit(clean)
        return admitted if isinstance(admitted, Receipt) else await self._store(admitted, kinds, ())

    async def _store(self, message: InboundMessage, kinds: tuple[str, ...], names: Sequence[str]) -> Receipt:
        removal = self._removal(kinds, message.sender.channel) if kinds else None
        return await conversations.receive(self._database, message, names, removal)

    async def _kept_back(self, message: InboundMessage, control: Control | None) -> Receipt | None:
        """Return the receipt of a message that is not for the agent; None if it is. Errors: `Invalid`, in words."""
        admitted = await admit(
            self._database,
            message,
            self._limits,
            is_urgent=is_stop(message.text),
            send=self._sends(message.sender.channel),
        )
        if admitted.outcome == "out" and not isinstance(control, Said):
            return admitted.receipt
        if control and (receipt := await take_control(self._database, message, control, self._sends)):
            return receipt
        if admitted.outcome == "crowded":
            raise Invalid(CROWDED)
        return None

    async def _stored_at_once(self, message: InboundMessage) -> Receipt | None:
        """Store a message that can only be for the agent, if it is let in; None if it is a stranger's.

        Errors: `Invalid`, in words.
        """
        admitted = await admit_and_receive(
            self._database,
            message,
            self._limits,
            is_urgent=is_stop(message.text),
            send=self._sends(message.sender.channel),
        )
        if admitted.outcome == "crowded":
            raise Invalid(CROWDED)
        return admitted.receipt

    def _removal(self, kinds: tuple[str, ...], channel: str) -> Removal:
        tokens = {kind: secrets.token_urlsafe(TOKEN_BYTES) for kind in kinds[:LINKS_LIMIT]}
        links = {kind: secret_link(self._public_url, token) for kind, token in tokens.items()}
        return Removal(
            kinds=kinds,
            notice=removal_notice(kinds, links),
            send=self._sends(channel),
            token_hashes=tuple(map(token_hash, tokens.values())),
        )


def _text(message: InboundMessage) -> str:
    """Return what was said; it may be nothing if files say it."""
    if message.attachments and not message.text.strip():
        return ""
    return clean_text(message.text)


def _is_more_than_words(message: InboundMessage) -> bool:
    return bool(message.attachments or message.speaker or message.sender.thread)


def _speaker(name: str) -> str:
    """Return the name of somebody among several; one who has made theirs invisible is among several all the same."""
    return clean_name(name) or ("somebody" if name else "")


def _bounded(attachments: tuple[Attachment, ...]) -> tuple[Attachment, ...]:
    """Return files that may be stored. Errors: `Invalid`, in words for the sender."""
    if len(attachments) > ATTACHMENTS_LIMIT:
        raise Invalid(f"I can take {ATTACHMENTS_LIMIT} files with one message. Please send the others after it.")
    if sum(len(one.content or b"") for one in attachments) > ATTACHMENTS_LIMIT_BYTES:
        raise Invalid(f"I can take {ATTACHMENTS_LIMIT_BYTES // 1024**2} MB of files with one message.")
    return tuple(
        replace(one, name=clean_name(one.name, NAME_LIMIT_CHARACTERS) or "file", media_type=clean_name(one.media_type))
        for one in attachments
    )
