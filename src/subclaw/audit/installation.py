"""What the audit is given of an installation, and calls of its HTTP API."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from subclaw.core.errors import Unavailable
from subclaw.store.database import DatabaseAddress

AT_ONCE = 8
"""How many customers talk at once: the operator's own go on meanwhile."""
TURN_LIMIT_S = 120.0
POLL_S = 0.25
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Installation:
    """An installation that runs. `seal_to` is its gateway's public key; at `model_socket` its workers ask the audit.

    `logs` are folders whose files no word may be in, of whomever; `folders` those of the state folder beside them.
    `console` is the link that signs in to the console; without one its pages are not searched. `headers` go with each
    request. `tool_files` are put into the audit's agent beside its own, by path.
    """

    url: str
    address: DatabaseAddress
    seal_to: bytes
    model_socket: Path
    logs: Sequence[Path] = ()
    folders: Sequence[Path] = ()
    console: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    tool_files: Mapping[str, str] = field(default_factory=dict)


@asynccontextmanager
async def api_client(installation: Installation, key: str = "") -> AsyncIterator[httpx2.AsyncClient]:
    """Open a client of the API that shows a key or a token, if one is given."""
    shown = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx2.AsyncClient(
        base_url=f"{installation.url}/v1", headers={**installation.headers, **shown}, trust_env=False, timeout=60
    ) as client:
        yield client


async def wanted(client: httpx2.AsyncClient, method: str, path: str, **more: Any) -> Any:
    """Return what a call of the audit's own brings. Errors: `Unavailable` if it is refused."""
    response = await client.request(method, path, **more)
    if response.status_code >= 300:
        raise Unavailable(f"The audit cannot go on: {method} /v1{path} answered with {response.status_code}.")
    return response.json()


async def say(client: httpx2.AsyncClient, session: str, text: str) -> list[dict[str, Any]]:
    """Say something in a session, wait for the end of the turn, and return its events. Errors: `Unavailable`."""
    after = (await wanted(client, "POST", f"/sessions/{session}/events", json={"text": text}))["after"]
    try:
        async with asyncio.timeout(TURN_LIMIT_S):
            while True:
                page = await wanted(client, "GET", f"/sessions/{session}/events", params={"after": after, "limit": 100})
                if not page["working"] and any(event["type"] == "turn.finished" for event in page["data"]):
                    return list(page["data"])
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise Unavailable(f"The audit cannot go on: a turn did not end within {TURN_LIMIT_S:.0f} s.") from None


async def for_each(items: Iterable[T], perform: Callable[[T], Awaitable[None]], *, at_once: int = AT_ONCE) -> None:
    """Do something for each, some at once; the first that fails ends all."""
    room = asyncio.Semaphore(at_once)

    async def one(item: T) -> None:
        async with room:
            await perform(item)

    async with asyncio.TaskGroup() as group:
        for item in items:
            group.create_task(one(item))
