"""Matrix: replies and files out, files in, and typing.

A homeserver takes a message with a transaction's id once, however often it is sent with that id: so a message of which
nobody knows whether it went out is sent again. Source:
https://spec.matrix.org/v1.16/client-server-api/#transaction-identifiers.
"""

import contextlib
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from nio.crypto.attachments import decrypt_attachment  # type: ignore[import-untyped]
from nio.exceptions import EncryptionError  # type: ignore[import-untyped]

from subclaw.channels.markdown import split_markdown
from subclaw.channels.matrix import rooms
from subclaw.channels.matrix.client import BrokenOff, GatewayClient, NotSent, RefusedByServer, ask_json, download
from subclaw.channels.matrix.device import Device
from subclaw.channels.matrix.errors import refused
from subclaw.channels.matrix.events import file_of, is_room, room_of
from subclaw.channels.matrix.files import file_content
from subclaw.channels.matrix.formatting import content_of
from subclaw.channels.matrix.saying import MESSAGE, find_put, put
from subclaw.core.channel import (
    Address,
    Delivery,
    LastHeard,
    NotSeen,
    NotTold,
    OutboundFile,
    OutboundMessage,
    Seen,
    SendResult,
    Sighting,
    Trouble,
)
from subclaw.core.errors import Conflict, NotFound, Unavailable
from subclaw.core.outgoing import UPLOAD_LIMIT_BYTES

PART_LIMIT = 4_000
"""What a part has at most, in UTF-16 units: with its format and encrypted it fits into an event of 64 KB."""

TYPING_MS = 5_000
AGAIN_WITHIN = timedelta(hours=12)
"""For how long a homeserver surely remembers a transaction: Synapse does for a day."""

REMEMBERED = 2_000
_TOO_LARGE = 413

Content = Callable[[bool], Awaitable[dict[str, Any]]]
"""Makes what a message holds; it is told whether the room is encrypted."""


class MatrixChannel:
    """The way out by Matrix. An address is a person's Matrix id, or the id of a room that several share."""

    name = "matrix"

    def __init__(self, client: GatewayClient, device: Device, last_heard: LastHeard) -> None:
        self._client = client
        self._device = device
        self._last_heard = last_heard
        self._tried: OrderedDict[str, str] = OrderedDict()

    def parts(self, text: str) -> Sequence[str]:
        """Cut a reply into messages."""
        return split_markdown(text, PART_LIMIT)

    async def send(self, message: OutboundMessage) -> SendResult:
        """Send a message. If its answer is lost, `find` tells."""
        return await self._deliver(message, _text_of(message))

    def takes(self, to: Address, media_type: str, size_bytes: int) -> bool:
        """Say whether such a file may go: any that the way to the homeserver takes, which may itself take less."""
        return size_bytes <= UPLOAD_LIMIT_BYTES

    async def send_file(self, message: OutboundMessage, file: OutboundFile) -> SendResult:
        """Send a file, with its title as what is said of it."""

        async def content(is_encrypted: bool) -> dict[str, Any]:
            return await file_content(self._client, message.text, file, is_encrypted=is_encrypted)

        return await self._deliver(message, content)

    async def _deliver(self, message: OutboundMessage, content: Content) -> SendResult:
        try:
            room = await self._room(message.to)
            if room is None:
                return SendResult(delivery=Delivery.FAILED, detail="nothing is known of a room with this person")
            return await self._send(message, room, content)
        except (NotSent, Unavailable, Conflict) as error:
            return SendResult(delivery=Delivery.FAILED, detail=str(error), trouble=Trouble.NETWORK)

    async def find(self, message: OutboundMessage, *, since: datetime, known: Collection[str]) -> Sighting:
        """Send a message once more, in the same transaction: a homeserver that has it says which one it is.

        A file is looked for instead: its content is not at hand.
        """
        if datetime.now(UTC) - since > AGAIN_WITHIN:
            return NotTold(detail="the homeserver may have forgotten whether it has it")
        try:
            room = self._tried.get(_transaction(message)) or await self._room(message.to, before=since)
            if room is None:
                return NotTold(detail="the person may have been answered in another room")
            if message.file:
                found = await find_put(self._client, room, _transaction(message))
                return Seen(provider_id=found, delivery=Delivery.SENT) if found else NotSeen()
            result = await self._send(message, room, _text_of(message))
        except (NotSent, BrokenOff, RefusedByServer, Unavailable, Conflict) as error:
            return NotTold(detail=str(error))
        if result.delivery is not Delivery.SENT:
            return NotTold(detail=result.detail)
        return Seen(provider_id=result.provider_id or "", delivery=Delivery.SENT)

    async def typing(self, to: Address) -> None:
        """Show for five seconds that the agent is at work."""
        with contextlib.suppress(NotSent, BrokenOff, RefusedByServer, Unavailable):
            if room := await self._room(to):
                path = f"/v3/rooms/{quote(room, safe='')}/typing/{quote(self._client.user_id, safe='')}"
                await ask_json(self._client, "PUT", path, {"typing": True, "timeout": TYPING_MS})

    async def fetch(self, handle: str, limit_bytes: int) -> bytes:
        """Return a file that came with a message, decrypted if it was encrypted."""
        server, media_id, keys = file_of(handle)
        content = await download(self._client, server, media_id, limit_bytes)
        try:
            return bytes(decrypt_attachment(content, **keys)) if keys else content
        except EncryptionError:
            raise NotFound("It cannot be decrypted.", internal="attachment") from None

    async def _send(self, message: OutboundMessage, room: str, make: Content) -> SendResult:
        """Send a message into a room. Errors: `NotSent`, `Unavailable`, `Conflict`: it did not go out."""
        transaction = _transaction(message)
        try:
            found = await self._look_at(room, message.to)
            if found is None:
                detail = "others are in the room with this person, or can join it, or the person has left"
                return SendResult(delivery=Delivery.FAILED, detail=detail)
            kind, content = MESSAGE, await make(found)
            if found:
                kind, content = await self._device.encrypt(room, content)
        except BrokenOff as error:
            raise NotSent(str(error)) from None
        except RefusedByServer as error:
            if message.file and error.status == _TOO_LARGE:
                detail = "the homeserver takes no files of this size"
                return SendResult(delivery=Delivery.FAILED, detail=detail, trouble=Trouble.FILE)
            return _certain(refused(error))
        self._remember(transaction, room)
        try:
            event_id = await put(self._client, room, kind, content, transaction)
        except BrokenOff as error:
            return SendResult(delivery=Delivery.UNKNOWN, detail=str(error))
        except RefusedByServer as error:
            return refused(error)
        return SendResult(delivery=Delivery.SENT, provider_id=event_id)

    async def _look_at(self, room: str, to: Address) -> bool | None:
        """Say whether a room is encrypted; None if it should be a person's own and is not."""
        if is_room(to.address):
            return await rooms.is_encrypted(self._client, room)
        found = await rooms.look_at(self._client, room)
        return found.is_encrypted if found.is_private_to(to.address, self._client.user_id) else None

    async def _room(self, to: Address, *, before: datetime | None = None) -> str | None:
        """Return the room of an address: where the person wrote last, if that was before the given time."""
        if is_room(to.address):
            return to.address
        heard = await self._last_heard(to)
        if heard is None or (before and heard.at > before):
            return None
        return room_of(heard.provider_id)

    def _remember(self, transaction: str, room: str) -> None:
        self._tried[transaction] = room
        if len(self._tried) > REMEMBERED:
            self._tried.popitem(last=False)


def _text_of(message: OutboundMessage) -> Content:
    async def content(is_encrypted: bool) -> dict[str, Any]:
        return content_of(message.text)

    return content


def _transaction(message: OutboundMessage) -> str:
    """Return the id of the transaction by which a message goes out: the same at every try."""
    digest = hashlib.sha256(message.text.encode("utf-8", "replace")).hexdigest()[:16]
    return f"subclaw-{message.tenant_id}-{message.reply_id}-{message.part}-{digest}"


def _certain(result: SendResult) -> SendResult:
    """Return what is known where the message itself was not sent yet."""
    if result.delivery is Delivery.FAILED:
        return result
    return SendResult(delivery=Delivery.FAILED, detail=result.detail, trouble=Trouble.NETWORK)
