"""The account's device: it decrypts what is said in encrypted rooms, and encrypts what is sent there, by nio.

Its state is kept as entries of the channel `matrix-device`, each sealed, so that any worker has the same device.
Whoever uses it holds it alone, and writes what has changed before anything is told to anybody: keys that were used and
forgotten would make messages unreadable.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox
from nio import (  # type: ignore[import-untyped]
    KeysClaimResponse,
    KeysQueryResponse,
    KeysUploadResponse,
    MatrixRoom,
    MegolmEvent,
    ShareGroupSessionResponse,
    ToDeviceEvent,
    WhoamiResponse,
)
from nio.crypto import Olm  # type: ignore[import-untyped]

from subclaw.channels.matrix import signing
from subclaw.channels.matrix.client import GatewayClient, NotSent, RefusedByServer, ask
from subclaw.channels.matrix.device_store import ACCOUNT, Entry, EntryStore, is_old, put, read_account
from subclaw.channels.matrix.rooms import members_of
from subclaw.channels.matrix.sync import Event
from subclaw.core.errors import SubclawError, Unavailable
from subclaw.core.keeping import Keeping

log = logging.getLogger(__name__)

DEVICE_CHANNEL = "matrix-device"
_DEVICE, _SEEDS = "device", "seeds"

ReadKey = Callable[[], Awaitable[bytes]]
"""Gives the key that seals the device's state, of 32 bytes. Errors: `Unavailable`."""


class Device:
    """A device, which is begun when it is first held."""

    def __init__(self, session: aiohttp.ClientSession, user: str, keeping: Keeping, read_key: ReadKey) -> None:
        self._session = session
        self._user = user
        self._keeping = keeping
        self._read_key = read_key
        self._lock = asyncio.Lock()
        self._client: GatewayClient | None = None
        self._box = SecretBox(bytes(SecretBox.KEY_SIZE))
        self._version = 0
        self._seeds: signing.Seeds | None = None
        self._recipients: dict[str, frozenset[tuple[str, str, str]]] = {}

    @asynccontextmanager
    async def held(self) -> AsyncIterator[GatewayClient]:
        """Give nio's client for the device as it stands; nobody else uses it meanwhile.

        Errors: `Unavailable`, `Conflict`, and those of `client.ask`.
        """
        async with self._lock, self._keeping.alone():
            if self._client is None:
                self._client = await self._begin()
            else:
                kept = await self._keeping.read(after=self._version)
                put(_olm(self._client), self._opened(kept.entries))
                self._version = kept.version
            try:
                yield self._client
            finally:
                await self._flush()

    async def prepare(self) -> None:
        """Publish the device's keys, and that it is the account's own. Errors: as `held`.

        What is not encrypted is read and written whatever the homeserver says to that.
        """
        async with self.held() as client:
            try:
                await self._upload_keys(client)
                await self._sign(client)
            except RefusedByServer as error:
                log.warning("matrix: encrypted rooms may not be read: the device's keys are not published: %s", error)

    async def take_in(
        self, to_device: Iterable[Event], keys_left: int | None, said: Iterable[Event]
    ) -> dict[str, Event]:
        """Take what was sent to the device, and return those of the encrypted events that it can read, by their ids.

        Each of `said` has its `room_id`. Errors: as `held`.
        """
        async with self.held() as client:
            for event in to_device:
                _hand_over(client, event)
            read = {str(event.get("event_id")): found for event in said if (found := _decrypted(client, event))}
            if keys_left is not None:
                _olm(client).uploaded_key_count = keys_left
            try:
                await self._tend(client)
            except RefusedByServer as error:
                log.warning("matrix: encrypted rooms may not be read: the device's keys are not renewed: %s", error)
        return read

    async def encrypt(self, room: str, content: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return a message's type and content as all members of a room can read them, and nobody else.

        Their devices are asked for anew each time, and have the keys by then. Errors: as `held`.
        """
        async with self.held() as client:
            olm, members = _olm(client), await members_of(client, room)
            olm.users_for_key_query = set(members)
            await ask(client.keys_query(), KeysQueryResponse)
            client.rooms[room] = _room(room, self._user, members)
            try:
                await self._share_keys(client, room, members)
                kind, encrypted = client.encrypt(room, "m.room.message", content)
            finally:
                client.rooms.pop(room, None)
        return kind, encrypted

    async def _begin(self) -> GatewayClient:
        self._box = SecretBox(await self._read_key())
        who = await ask(GatewayClient(self._session, self._user).whoami(), WhoamiResponse)
        if who.user_id != self._user:
            raise Unavailable(f"The token is that of {who.user_id}, and MATRIX_USER says {self._user}.")
        device = who.device_id or "SUBCLAW"
        kept = await self._keeping.read()
        entries, self._version = await self._own(self._opened(kept.entries), kept.entries, device, kept.version)
        store = EntryStore(read_account(entries.get(ACCOUNT)))
        client = GatewayClient(self._session, self._user, device, self._flush)
        client.store, client.olm = store, Olm(self._user, device, store)
        put(client.olm, {name: entry for name, entry in entries.items() if name != ACCOUNT})
        if _DEVICE not in entries:
            store.changed[_DEVICE] = {"id": device}
        self._seeds = entries.get(_SEEDS)
        self._client = client
        await self._flush()
        return client

    async def _own(
        self, entries: Mapping[str, Entry], kept: Iterable[str], device: str, version: int
    ) -> tuple[dict[str, Entry], int]:
        """Return the entries of this device; forget those of another one, and old ones."""
        is_ours = entries.get(_DEVICE, {}).get("id") == device
        own = {name: entry for name, entry in entries.items() if is_ours and not is_old(name, entry)}
        gone = {name: None for name in kept if name not in own}
        return own, await self._keeping.write(gone, expected=version) if gone else version

    async def _flush(self) -> None:
        """Write what has changed. If that fails the device is begun anew, as it was written last."""
        client = self._client
        if client is None or not client.store.changed:
            return
        if ACCOUNT in client.store.changed:
            client.store.save_account(_olm(client).account)
        changed, client.store.changed = client.store.changed, {}
        sealed = {name: bytes(self._box.encrypt(json.dumps(entry).encode())) for name, entry in changed.items()}
        try:
            self._version = await self._keeping.write(sealed, expected=self._version)
        except BaseException:
            self._client = None
            self._recipients.clear()
            raise

    def _opened(self, entries: Mapping[str, bytes | None]) -> dict[str, Entry]:
        """Open entries; if they were sealed by another key there are none."""
        opened: dict[str, Entry] = {}
        try:
            for name, value in entries.items():
                opened |= {name: json.loads(self._box.decrypt(value))} if value is not None else {}
        except (CryptoError, ValueError):
            log.warning("matrix: what is kept of the device was sealed by another key, and is given up")
            return {}
        return opened

    async def _upload_keys(self, client: GatewayClient) -> None:
        if client.should_upload_keys:
            # They are made within the call: the account is written once more before they go out.
            client.store.changed.setdefault(ACCOUNT, {})
            await ask(client.keys_upload(), KeysUploadResponse)

    async def _sign(self, client: GatewayClient) -> None:
        found = await signing.keys_of(client, self._user)
        devices = found.get("device_keys", {}).get(self._user, {})
        published = found.get("self_signing_keys", {}).get(self._user, {}).get("keys", {})
        if self._seeds is None:
            if published:
                raise RefusedByServer(code="its keys were made elsewhere", status=200)
            self._seeds = signing.new_seeds()
            client.store.changed[_SEEDS] = self._seeds
        if f"ed25519:{signing.self_signing_key(self._seeds)}" not in published:
            await signing.upload(client, self._user, self._seeds)
        device = devices.get(client.device_id, {})
        if device and not signing.is_signed(self._user, device, self._seeds):
            await signing.upload_signature(client, self._user, signing.sign_device(self._user, device, self._seeds))

    async def _tend(self, client: GatewayClient) -> None:
        """Do what follows from what came: give out new one-time keys, mend sessions that broke."""
        olm = _olm(client)
        await self._upload_keys(client)
        if client.should_query_keys:
            await ask(client.keys_query(), KeysQueryResponse)
        if olm.wedged_devices or olm.key_request_devices_no_session:
            await ask(client.keys_claim(client.get_users_for_key_claiming()), KeysClaimResponse)
        olm.collect_key_requests()
        await client.send_to_device_messages()

    async def _share_keys(self, client: GatewayClient, room: str, members: Iterable[str]) -> None:
        """Have all devices of the members know the keys of what is encrypted next. Errors: `NotSent` if some do not."""
        olm = _olm(client)
        devices = [
            device
            for user in members
            for device in olm.device_store.active_user_devices(user)
            if (user, device.id) != (self._user, client.device_id)
        ]
        recipients = frozenset((device.user_id, device.id, device.curve25519) for device in devices)
        if self._recipients.get(room) != recipients:
            client.invalidate_outbound_session(room)
        if not olm.should_share_group_session(room):
            return
        shared = await ask(client.share_group_session(room, ignore_unverified_devices=True), ShareGroupSessionResponse)
        reachable = {(one.user_id, one.id) for one in devices if olm.session_store.get(one.curve25519)}
        if not reachable <= shared.users_shared_with:
            client.invalidate_outbound_session(room)
            raise NotSent("the keys of the message were not handed out")
        self._recipients[room] = recipients


def _olm(client: GatewayClient) -> Olm:
    assert client.olm is not None
    return client.olm


def _room(room: str, own: str, members: Iterable[str]) -> MatrixRoom:
    found = MatrixRoom(room, own, encrypted=True)
    for member in members:
        found.add_member(member, None, None)
    found.members_synced = True
    return found


def _hand_over(client: GatewayClient, event: Event) -> None:
    """Have nio take an event for the device. What is wrong with one must not keep the others back."""
    try:
        parsed = ToDeviceEvent.parse_event(dict(event))
        if parsed is not None:
            _olm(client).handle_to_device_event(parsed)
    except SubclawError:
        raise
    except Exception as error:
        log.warning("matrix: something sent to the device was not understood: %s", type(error).__name__)


def _decrypted(client: GatewayClient, event: Event) -> Event | None:
    """Return an event as it was before it was encrypted; None if that cannot be told, or not yet."""
    try:
        sender_key = _sender_key(_olm(client), str(event["room_id"]), event["content"]["session_id"])
        if sender_key is None:
            return None
        # What an event says of its sender's device is not to be relied on, and may be missing.
        content = {"device_id": "", **event["content"], "sender_key": sender_key}
        source: Event = client.decrypt_event(MegolmEvent.from_dict({**event, "content": content})).source
    except Exception as error:  # nio raises many kinds, and its assertions, for what others have made up
        log.info("matrix: a message is not decrypted: %s", type(error).__name__)
        return None
    return source


def _sender_key(olm: Olm, room: str, session_id: str) -> str | None:
    """Return the key of the device from which the keys of a room's messages came."""
    sessions = olm.inbound_group_store[room]
    return next((sender_key for sender_key, found in sessions.items() if session_id in found), None)
