"""People who write by Matrix: matrix-nio as its own clients use it, straight to the homeserver."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from nio import (  # type: ignore[import-untyped]
    AsyncClient,
    AsyncClientConfig,
    JoinResponse,
    RoomCreateResponse,
    RoomPreset,
    RoomSendResponse,
)
from nio.store import SqliteMemoryStore  # type: ignore[import-untyped]
from tests.real.synapse import Synapse

WAIT_S = 40
ENCRYPTION = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}


class Person:
    """Somebody with a client. `heard` are the messages of others, as they were before they were encrypted."""

    def __init__(self, client: AsyncClient) -> None:
        self.client = client
        self.heard: list[dict[str, Any]] = []
        self.typing: list[list[str]] = []

    @property
    def user(self) -> str:
        """Return the Matrix id."""
        return str(self.client.user_id)

    async def room(self, *others: str, encrypted: bool = False, public: bool = False, name: str = "") -> str:
        """Make a room and invite others."""
        made = await self.client.room_create(
            name=name or None,
            invite=list(others),
            is_direct=len(others) == 1,
            preset=RoomPreset.public_chat if public else RoomPreset.private_chat,
            initial_state=[ENCRYPTION] if encrypted else [],
        )
        assert isinstance(made, RoomCreateResponse), made
        return str(made.room_id)

    async def join(self, room: str) -> None:
        """Join a room, as one that is invited."""
        assert isinstance(await self.client.join(room), JoinResponse)

    async def say(self, room: str, text: str, more: Mapping[str, Any] | None = None, transaction: str = "") -> str:
        """Say something; return the event's id."""
        content = {"msgtype": "m.text", "body": text, **(more or {})}
        if self.client.olm:
            await self.hear()
        sent = await self.client.room_send(
            room, "m.room.message", content, transaction or None, ignore_unverified_devices=True
        )
        assert isinstance(sent, RoomSendResponse), sent
        return str(sent.event_id)

    async def hear(self, timeout_ms: int = 0) -> None:
        """Ask what is new."""
        told = await self.client.sync(timeout=timeout_ms, full_state=not self.client.next_batch)
        for joined in told.rooms.join.values():
            for event in joined.timeline.events:
                source = getattr(event, "source", {})
                is_said = source.get("type") in ("m.room.message", "m.room.encrypted")
                if is_said and source.get("sender") != self.user:
                    self.heard.append(source)
            self.typing += [event.users for event in joined.ephemeral if hasattr(event, "users")]
        if self.client.olm:
            if self.client.should_upload_keys:
                await self.client.keys_upload()
            if self.client.should_query_keys:
                await self.client.keys_query()
            await self.client.send_to_device_messages()

    async def until(self, count: int) -> list[str]:
        """Wait until so many messages were heard; return what they say."""
        async with asyncio.timeout(WAIT_S):
            while len(self.heard) < count:
                await self.hear(500)
        return self.texts

    async def until_said(self, sender: str, ending: str) -> str:
        """Wait until somebody has said something that ends so; return it."""
        async with asyncio.timeout(WAIT_S):
            while True:
                for event in self.heard:
                    if event["sender"] == sender and str(event["content"].get("body", "")).endswith(ending):
                        return str(event["content"]["body"])
                await self.hear(500)

    async def until_joined(self, room: str, user: str) -> None:
        """Wait until somebody has joined a room."""
        async with asyncio.timeout(WAIT_S):
            while user not in {one.user_id for one in (await self.client.joined_members(room)).members}:
                await asyncio.sleep(0.02)

    @property
    def texts(self) -> list[str]:
        """Return what was heard."""
        return [event["content"].get("body", "(encrypted)") for event in self.heard]


@asynccontextmanager
async def person(server: Synapse, name: str, *, encrypts: bool = False) -> AsyncIterator[Person]:
    """Give a new person of that name for the life of the block."""
    account = await asyncio.to_thread(server.register, name)
    config = AsyncClientConfig(
        max_limit_exceeded=0,
        max_timeouts=0,
        encryption_enabled=encrypts,
        store=SqliteMemoryStore if encrypts else None,
    )
    client = AsyncClient(server.url, account.user, account.device, config=config, ssl=True)
    client.user_id, client.access_token = account.user, account.token
    if encrypts:
        client.load_store()
    found = Person(client)
    try:
        await found.hear()
        yield found
    finally:
        await client.close()
        if encrypts:
            client.store.database.close()
