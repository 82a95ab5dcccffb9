"""The Gateway: web sockets on which sessions are told what happens, and may go on where they were.

It is strict where the real one is: the token, intents, what a session may resume.
Source: https://discord.com/developers/docs/events/gateway.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from subclaw.testing.channels.discord.conversations import PRIVATE, TEXT, THREAD, user
from subclaw.testing.channels.discord.state import FakeDiscord, Session
from subclaw.testing.channels.provider import wait_until

PRIVILEGED_INTENTS = 1 << 1 | 1 << 8 | 1 << 15


async def say(fake: FakeDiscord, message: Mapping[str, Any]) -> None:
    """Tell every session what was said, those that have no connection when they come back."""
    await _tell(fake, "MESSAGE_CREATE", message)


async def hang_up(fake: FakeDiscord, code: int = WSCloseCode.ABNORMAL_CLOSURE, *, forget: bool = False) -> None:
    """End every connection of the Gateway: by a code, or without a word; with `forget` no session can be resumed."""
    sockets = [session.socket for session in fake.sessions.values() if session.socket is not None]
    if forget:
        fake.sessions.clear()
    for socket in sockets:
        if code != WSCloseCode.ABNORMAL_CLOSURE:
            await socket.close(code=code)
        elif (transport := fake.connections[socket].transport) is not None:
            transport.abort()


async def ask_to_reconnect(fake: FakeDiscord) -> None:
    """Ask every connection to be made anew, as Discord does when it restarts a server."""
    for session in fake.sessions.values():
        if session.socket is not None:
            await session.socket.send_json({"op": 7, "d": None, "s": None, "t": None})


async def until_connected(fake: FakeDiscord) -> None:
    """Wait until a session has a connection."""
    await wait_until(fake, lambda: any(session.socket is not None for session in fake.sessions.values()))


async def _tell(fake: FakeDiscord, event: str, data: Mapping[str, Any]) -> None:
    for session in list(fake.sessions.values()):
        await _tell_one(session, event, data)


async def _tell_one(session: Session, event: str, data: Mapping[str, Any]) -> None:
    told = {"op": 0, "s": len(session.told) + 1, "t": event, "d": data}
    session.told.append(told)
    if session.socket is not None:
        with suppress(ConnectionError):
            await session.socket.send_json(told)


async def connect(fake: FakeDiscord, request: web.Request) -> web.StreamResponse:
    """Speak with whoever connects, until the connection ends; the session is kept."""
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    if request.query.get("compress"):
        await socket.close(code=4002)  # the real one has it; whoever stands between could not look into it
        return socket
    await socket.send_json({"op": 10, "d": {"heartbeat_interval": fake.beat_ms}, "s": None, "t": None})
    fake.connections[socket] = request
    try:
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await _answer(fake, socket, json.loads(message.data))
    finally:
        del fake.connections[socket]
        for session in fake.sessions.values():
            if session.socket is socket:
                session.socket = None
    return socket


async def _answer(fake: FakeDiscord, socket: web.WebSocketResponse, said: Mapping[str, Any]) -> None:
    match said["op"], said["d"]:
        case 1, _:
            fake.beats += 1
            await socket.send_json({"op": 11, "d": None, "s": None, "t": None})
        case ((2 | 6), {"token": token}) if token != fake.token:
            await socket.close(code=4004, message=b"Authentication failed.")
        case 2, {"intents": int(intents)} if intents & PRIVILEGED_INTENTS:
            await socket.close(code=4014, message=b"Disallowed intent(s).")
        case 2, about:
            await _identify(fake, socket, about)
        case 6, about:
            await _resume(fake, socket, about)
        case _:
            await socket.close(code=4001, message=b"Unknown opcode.")


async def _identify(fake: FakeDiscord, socket: web.WebSocketResponse, about: dict[str, Any]) -> None:
    fake.sessions_left -= 1
    session = Session(id=f"session-{next(fake.numbers)}", socket=socket)
    ready = {
        "v": 10,
        "user": user(fake.bot_id, "agents", bot=True),
        "guilds": [{"id": str(fake.guild_id), "unavailable": True}],
        "session_id": session.id,
        "resume_gateway_url": "wss://gateway-elsewhere.discord.example",
        "application": {"id": str(fake.application_id), "flags": 0},
    }
    await _tell_one(session, "READY", ready)
    of_guild = [channel for channel in fake.channels.values() if channel["type"] != PRIVATE]
    guild = {"id": str(fake.guild_id), "name": "Friends", "owner_id": "1", "member_count": 2, "roles": [], "emojis": []}
    guild |= {
        "channels": [channel for channel in of_guild if channel["type"] == TEXT],
        "threads": [channel for channel in of_guild if channel["type"] == THREAD],
        "members": [],
    }
    await _tell_one(session, "GUILD_CREATE", guild)
    async with fake.news:
        fake.identified.append(about)
        fake.sessions[session.id] = session
        fake.news.notify_all()


async def _resume(fake: FakeDiscord, socket: web.WebSocketResponse, about: dict[str, Any]) -> None:
    fake.resumed.append(about)
    session = fake.sessions.get(about["session_id"])
    if session is None or not 0 <= about["seq"] <= len(session.told):
        await socket.send_json({"op": 9, "d": False, "s": None, "t": None})
        return
    for told in session.told[about["seq"] :]:
        await socket.send_json(told)
    async with fake.news:
        session.socket = socket
        fake.news.notify_all()
    await _tell_one(session, "RESUMED", {})
