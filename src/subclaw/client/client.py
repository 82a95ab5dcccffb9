"""The client."""

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, TypeVar
from urllib.parse import quote

import httpx2
from pydantic import TypeAdapter

from subclaw.client.calls import Calls
from subclaw.client.errors import ApiError, Unreachable
from subclaw.client.values import (
    Account,
    Agent,
    Approval,
    Customer,
    Delta,
    Endpoint,
    Event,
    Link,
    Part,
    Receipt,
    Reset,
    Schedule,
    ScheduleSet,
    Session,
    Token,
)

RECONNECT_S = 2.0
PAGE = 100
T = TypeVar("T")


class Client:
    """The API of one installation, by a key. Use it as an async context manager.

    Every method raises `ApiError` if it is refused, and `Unreachable` if the API cannot be reached after a few tries.
    What is performed is performed once, however often it had to be sent.
    """

    def __init__(
        self, url: str, key: str, *, timeout_s: float = 30.0, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self._calls = Calls(url, key, timeout_s=timeout_s, transport=transport)

    async def __aenter__(self) -> "Client":
        """Begin."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._calls.close()

    def agents(self) -> AsyncGenerator[Agent, None]:
        """Yield the agents that the key is for."""
        return self._pages(Agent, "agents")

    async def agent(self, agent: str) -> Agent:
        """Return an agent."""
        return _read(Agent, await self._calls.call("GET", f"agents/{_safe(agent)}"))

    async def open_session(
        self,
        agent: str,
        *,
        customer: str,
        binding: Mapping[str, Any] | None = None,
        channel: Literal["api", "widget"] = "api",
    ) -> Session:
        """Open a session of a customer's. The agent's tools are given the `binding`; the model never sees it.

        In one for the widget the customer's browser talks, too.
        """
        body = {"customer": customer, "binding": dict(binding or {}), "channel": channel}
        return _read(Session, await self._calls.call("POST", f"agents/{_safe(agent)}/sessions", body=body))

    def sessions(self, agent: str, *, customer: str | None = None) -> AsyncGenerator[Session, None]:
        """Yield an agent's sessions, the newest first."""
        return self._pages(Session, f"agents/{_safe(agent)}/sessions", customer=customer)

    async def session(self, session: str) -> Session:
        """Return a session."""
        return _read(Session, await self._calls.call("GET", f"sessions/{_safe(session)}"))

    async def session_token(self, session: str, *, life_s: int = 900) -> Token:
        """Make a token with which a browser can talk in a session."""
        return _read(
            Token, await self._calls.call("POST", f"sessions/{_safe(session)}/tokens", body={"life_s": life_s})
        )

    async def connect_account(self, session: str, provider: str) -> Link:
        """Make a link by which a session's customer connects an account. The agent is told when that is done."""
        return _read(
            Link, await self._calls.call("POST", f"sessions/{_safe(session)}/accounts", body={"provider": provider})
        )

    async def accounts(self, customer: int) -> list[Account]:
        """Return the accounts that a customer has connected."""
        return _read(list[Account], await self._calls.call("GET", f"customers/{customer}/accounts"))

    async def disconnect_account(self, customer: int, provider: str) -> None:
        """Disconnect a customer's account."""
        await self._calls.call("DELETE", f"customers/{customer}/accounts/{_safe(provider)}")

    async def say(self, session: str, text: str, *, message: str | None = None) -> str:
        """Say something as the customer; return the message's id, yours if you gave one."""
        return str((await self._say(session, text, message))["message"])

    async def events(self, session: str, *, after: int = 0) -> AsyncGenerator[Event, None]:
        """Yield what happens in a session after an event, and then whatever comes, for as long as you like.

        A stream that breaks off is opened again where it was. Close the iterator when you have enough.
        """
        async with aclosing(self._follow(session, after, deltas=False)) as parts:
            async for part in parts:
                if isinstance(part, Event):
                    yield part

    async def stream(self, session: str, text: str) -> AsyncGenerator[Part, None]:
        """Say something, and yield what happens until the turn is over, and each reply's words while it is said.

        A `Delta` comes after those before it; a `Reset` takes them back. Neither counts once the `reply` is there,
        which has all of the text. A stream that breaks off is opened again, and begins with a `Reset`.
        """
        taken, is_ours, before = await self._say(session, text, None, aloud=True), False, list[Part]()
        async with aclosing(self._follow(session, taken["after"], deltas=True)) as parts:
            async for part in parts:
                is_ours = is_ours or (isinstance(part, Event) and part.message == taken["message"])
                if not is_ours:
                    before = [*before, part] if isinstance(part, Delta) else []
                    continue
                for one in (*before, part):
                    yield one
                before = []
                if isinstance(part, Event) and part.type == "turn.finished":
                    return

    async def ask(self, session: str, text: str) -> str:
        """Say something, and return all that the agent says until its turn is over."""
        taken, said, is_ours = await self._say(session, text, None), list[str](), False
        async with aclosing(self.events(session, after=taken["after"])) as events:
            async for event in events:
                is_ours = is_ours or event.message == taken["message"]
                if is_ours and event.type == "reply" and event.text:
                    said.append(event.text)
                if is_ours and event.type == "turn.finished":
                    break
        return "\n\n".join(said)

    def approvals(
        self,
        *,
        agent: str | None = None,
        state: Literal["open", "approved", "declined", "expired", "void"] | None = "open",
    ) -> AsyncGenerator[Approval, None]:
        """Yield what waits for a yes, the newest first; with other states, what did."""
        return self._pages(Approval, "approvals", agent=agent, state=state)

    async def approval(self, approval: int) -> Approval:
        """Return an approval, with the arguments of the call."""
        return _read(Approval, await self._calls.call("GET", f"approvals/{approval}"))

    async def decide(self, approval: int, *, approve: bool) -> None:
        """Say yes or no."""
        await self._calls.call("POST", f"approvals/{approval}", body={"approve": approve})

    def schedules(self, *, agent: str | None = None) -> AsyncGenerator[Schedule, None]:
        """Yield what is set for later, the newest first."""
        return self._pages(Schedule, "schedules", agent=agent)

    async def set_schedule(
        self,
        session: str,
        text: str,
        *,
        at: datetime,
        mode: Literal["message", "agent_turn"] = "message",
        repeat: str = "",
        time_zone: str = "UTC",
    ) -> ScheduleSet:
        """Have something said in a session later, or the agent wake and act on it; `repeat` is an RRULE."""
        body = {"session": session, "text": text, "at": at.isoformat(), "mode": mode, "repeat": repeat}
        return _read(ScheduleSet, await self._calls.call("POST", "schedules", body={**body, "time_zone": time_zone}))

    async def cancel_schedule(self, schedule: int) -> None:
        """See to it that something does not happen."""
        await self._calls.call("DELETE", f"schedules/{schedule}")

    def customers(self, *, agent: str | None = None, customer: str | None = None) -> AsyncGenerator[Customer, None]:
        """Yield customers, the newest first."""
        return self._pages(Customer, "customers", agent=agent, customer=customer)

    async def export(self, customer: int) -> AsyncGenerator[dict[str, Any], None]:
        """Yield all that is stored of a customer: who it is, then `{"table": …, "row": …}`, last `{"end": true}`."""
        async with self._calls.stream(f"customers/{customer}/export", accept="application/x-ndjson") as lines:
            async for line in lines:
                yield json.loads(line)

    async def files(self, customer: int) -> AsyncGenerator[bytes, None]:
        """Yield a tar of the files of a customer's machine, which is woken; refused with 404 if there is none."""
        async with self._calls.download(f"customers/{customer}/files") as pieces:
            async for piece in pieces:
                yield piece

    async def erase(self, customer: int) -> Receipt:
        """Erase all that there is of a customer."""
        return _read(Receipt, await self._calls.call("DELETE", f"customers/{customer}"))

    async def make_webhook(self, url: str, events: Sequence[str], *, agent: str | None = None) -> Endpoint:
        """Have webhooks sent to a URL. The secret that checks them is in what is returned, this once."""
        body = {"url": url, "events": list(events), "agent": agent}
        return _read(Endpoint, await self._calls.call("POST", "webhooks", body=body))

    def webhooks(self) -> AsyncGenerator[Endpoint, None]:
        """Yield where webhooks go."""
        return self._pages(Endpoint, "webhooks")

    async def remove_webhook(self, endpoint: str) -> None:
        """Send nothing there any more."""
        await self._calls.call("DELETE", f"webhooks/{_safe(endpoint)}")

    async def _say(self, session: str, text: str, message: str | None, *, aloud: bool = False) -> Any:
        body = {"text": text, "id": message or uuid.uuid4().hex, "aloud": aloud}
        return await self._calls.call("POST", f"sessions/{_safe(session)}/events", body=body)

    async def _pages(self, kind: type[T], path: str, **query: str | None) -> AsyncGenerator[T, None]:
        cursor: str | None = None
        while True:
            page = await self._calls.call("GET", path, query={**query, "limit": PAGE, "cursor": cursor})
            for item in page["data"]:
                yield _read(kind, item)
            if (cursor := page["next"]) is None:
                return

    async def _follow(self, session: str, after: int, *, deltas: bool) -> AsyncGenerator[Part, None]:
        while True:
            try:
                async with aclosing(self._parts(session, after, deltas=deltas)) as found:
                    async for part in found:
                        after = part.id if isinstance(part, Event) else after
                        yield part
            except Unreachable:
                pass
            except ApiError as error:
                if error.status not in (429, 503):
                    raise
                await asyncio.sleep(error.retry_after_s)
            await asyncio.sleep(RECONNECT_S)

    async def _parts(self, session: str, after: int, *, deltas: bool) -> AsyncGenerator[Part, None]:
        path = f"sessions/{_safe(session)}/events" + ("" if deltas else "?deltas=false")
        async with self._calls.stream(path, accept="text/event-stream", last_event_id=after) as lines:
            kind = ""
            async for line in lines:
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "data" and kind != "working":
                    yield _read(_KINDS.get(kind, Event), json.loads(value))


_KINDS: Mapping[str, type[Part]] = {"reply.delta": Delta, "reply.reset": Reset}


def _read(kind: type[T], value: Any) -> T:
    return TypeAdapter(kind).validate_python(value)


def _safe(part: str) -> str:
    return quote(part, safe="")
