"""Every door of the HTTP API, tried with another's ids: routes as the API's own document lists them."""

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2

from subclaw.audit.attacks import Planted, ordered
from subclaw.audit.folder import AUDITED
from subclaw.audit.installation import Installation, api_client, for_each, wanted
from subclaw.audit.watch import Watch
from subclaw.core.canary import Canary, CanaryKind
from subclaw.core.session_token import SessionToken, sign_token

AREA = "API answers"
KEPT = 3
"""How many customers ask by one Idempotency-Key."""
STREAM_S = 1.0
"""For how long a stream is followed after its last piece."""
_HOLE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The keys of the audit: the agent owner's, and that of another agent's owner, each with its number."""

    own: str
    own_id: int
    stranger: str
    stranger_id: int


@dataclass(frozen=True, kw_only=True)
class Doors:
    """What trying the doors needs."""

    installation: Installation
    watch: Watch
    keys: Keys
    planted: Sequence[Planted]

    def other(self, one: Planted) -> Planted:
        """Return the next customer."""
        return self.planted[(one.number + 1) % len(self.planted)]


async def try_doors(doors: Doors) -> None:
    """Try all of them. Errors: `Unavailable` if the API is gone."""
    async with api_client(doors.installation) as client:
        routes = _routes((await client.get("/openapi.json")).json())

        async def one(planted: Planted) -> None:
            await _try_routes(doors, client, routes, planted)
            await _try_streams(doors, client, planted)
            await _try_named_sessions(doors, client, planted)
            await _try_idempotency(doors, client, planted)

        await for_each(doors.planted, one)
        await _try_kept_answers(doors, client)
        await _try_pages(doors, client)


def _routes(document: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    return [(method.upper(), path) for path, ways in document["paths"].items() for method in ways]


async def _try_routes(
    doors: Doors, client: httpx2.AsyncClient, routes: Sequence[tuple[str, str]], one: Planted
) -> None:
    """Make every call as those who may see nothing of the next customer, with that one's ids.

    Each customer tries a share of the routes, such that together they try each in every way.
    """
    victim = doors.other(one)
    ids = {"agent": AUDITED, "session": victim.session, "approval": str(victim.approval)}
    ids |= {"customer": str(victim.tenant_id), "receipt": "era_none", "endpoint": "whe_none"}
    ids |= {"delivery": "msg_" + 32 * "0"}
    shares = min(len(doors.planted), len(routes))
    for number, (method, template) in enumerate(routes):
        if (number - one.number) % shares:
            continue
        path = _HOLE.sub(lambda found: ids.get(found[1], "1"), template)
        body = _body(template, victim) if method == "POST" else None
        for who, presented in _presented(doors, one, victim):
            await _ask(doors, client, f"{method} {template}", method, path, who=who, presented=presented, body=body)


def _body(template: str, victim: Planted) -> Mapping[str, Any]:
    """Return what a route takes, as far as it is known here; others are tried with an empty object."""
    model = f"agents/{AUDITED}"
    known: Mapping[str, Mapping[str, Any]] = {
        "/agents/{agent}/sessions": {"customer": victim.name},
        "/sessions/{session}/accounts": {"provider": "audit"},
        "/schedules": {"session": victim.session, "text": "What have I said?", "at": "2099-01-01T00:00:00Z"},
        "/sessions/{session}/events": {"text": "What have I said?"},
        "/approvals/{approval}": {"approve": True},
        "/chat/completions": {
            "model": model,
            "user": victim.name,
            "messages": [{"role": "assistant", "content": "x"}, {"role": "user", "content": "What have I said?"}],
        },
        "/responses": {"model": model, "input": "What have I said?", "previous_response_id": _response_of(victim)},
    }
    return known.get(template, {})


def _response_of(planted: Planted) -> str:
    return f"resp_{planted.session.removeprefix('ses_')}_1"


def _presented(doors: Doors, one: Planted, victim: Planted) -> Iterator[tuple[str, str]]:
    """Yield who may see nothing of a customer, with what each shows."""
    yield "nobody", ""
    yield "another agent's owner", doors.keys.stranger
    yield "another customer's browser", one.token
    said = SessionToken(
        key_id=doors.keys.own_id, session=victim.session, expires_at=datetime.now(UTC) + timedelta(minutes=10)
    )
    yield "a token signed with another key", sign_token(said, doors.keys.stranger)
    own = SessionToken(
        key_id=doors.keys.stranger_id, session=victim.session, expires_at=datetime.now(UTC) + timedelta(minutes=10)
    )
    yield "a token of another agent's owner", sign_token(own, doors.keys.stranger)


async def _ask(
    doors: Doors,
    client: httpx2.AsyncClient,
    door: str,
    method: str,
    path: str,
    *,
    who: str,
    presented: str,
    owner: int | None = None,
    body: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> httpx2.Response:
    """Make a call and search the answer, whatever it is. It may hold nothing but what is the owner's, if any."""
    shown = {"Authorization": f"Bearer {presented}"} if presented else {}
    response = await client.request(method, path, json=body, headers={**shown, **(headers or {})})
    doors.watch.tried[door] += 1
    text = f"{dict(response.headers)}\n{response.text}"
    doors.watch.look(text, area=AREA, place=f"{door} as {who}: {response.status_code}", owner=owner)
    return response


async def _try_streams(doors: Doors, client: httpx2.AsyncClient, one: Planted) -> None:
    """Follow one's own session from places of others', and others' sessions; see what each customer's page has."""
    victim = doors.other(one)
    for session, presented, owner in (
        (one.session, one.token, one.number),
        (victim.session, one.token, None),
        (victim.session, doors.keys.stranger, None),
    ):
        headers = {"Accept": "text/event-stream", "Last-Event-ID": "0", "Authorization": f"Bearer {presented}"}
        pieces: list[str] = []
        async with client.stream("GET", f"/sessions/{session}/events", headers=headers) as response:
            lines = response.aiter_lines()
            while (line := await _next_line(lines)) is not None:
                pieces.append(line)
        doors.watch.tried["events as a stream"] += 1
        doors.watch.look("\n".join(pieces), area=AREA, place="a stream of events", owner=owner)


async def _next_line(lines: Any) -> str | None:
    """Return a line of a stream; None at its end, or once nothing has come for a while or it has told what is new."""
    try:
        async with asyncio.timeout(STREAM_S):
            line = str(await anext(lines))
    except (TimeoutError, StopAsyncIteration):
        return None
    return None if line.startswith("event: working") else line


async def _try_named_sessions(doors: Doors, client: httpx2.AsyncClient, one: Planted) -> None:
    """Name another customer's session by the doors for OpenAI's clients, as the owner's server for this customer."""
    victim, model = doors.other(one), f"agents/{AUDITED}"
    said = {"model": model, "user": one.name}
    chat = {**said, "messages": [{"role": "user", "content": "What have I said?"}]}
    asked = (
        ("/responses", {**said, "input": "x", "previous_response_id": _response_of(victim)}),
        ("/responses", {**said, "input": "x", "conversation": victim.session}),
        ("/chat/completions", {**chat, "metadata": {"session": victim.session}}),
    )
    path, body = asked[one.number % len(asked)]
    answer = await _ask(
        doors, client, f"POST {path}", "POST", path, who="the owner, for another customer", presented=doors.keys.own,
        owner=one.number, body=body,
    )  # fmt: skip
    if answer.status_code < 300:
        doors.watch.cross(f"POST {path} goes on in a session of another customer than it names", area=AREA)


async def _try_idempotency(doors: Doors, client: httpx2.AsyncClient, one: Planted) -> None:
    """Use the names of another's calls, whose answers are kept: each customer's page asks for the same."""
    victim = doors.other(one)
    name = {"Idempotency-Key": f"audit-{min(one.number, victim.number)}"}
    for who, presented, owner in (
        ("another customer's browser", one.token, one.number),
        ("another agent's owner", doors.keys.stranger, None),
    ):
        path = f"/sessions/{victim.session if owner is None else one.session}/events"
        await _ask(
            doors, client, "Idempotency-Key", "POST", path, who=who, presented=presented, owner=owner,
            body={"text": "the same"}, headers=name,
        )  # fmt: skip


async def _try_kept_answers(doors: Doors, client: httpx2.AsyncClient) -> None:
    """Ask, for one customer after the other, by the same name: what was kept for the first holds what is theirs."""
    for one in doors.planted[:KEPT]:
        message = doors.watch.canaries.text(Canary(customer=one.number, kind=CanaryKind.MESSAGE))
        said = f"I am {message}. {ordered([('get_order', {'order': '1'})])}"
        body = {"model": f"agents/{AUDITED}", "input": said, "metadata": {"customer": one.name}}
        await _ask(
            doors, client, "Idempotency-Key", "POST", "/responses", who="the owner, for another customer",
            presented=doors.keys.own, owner=one.number, body=body, headers={"Idempotency-Key": "audit-kept"},
        )  # fmt: skip


async def _try_pages(doors: Doors, client: httpx2.AsyncClient) -> None:
    """Read what the owner may, where no words belong: lists, the state of approvals, webhooks' bodies."""
    for path in ("/agents", "/customers", f"/agents/{AUDITED}/sessions", "/approvals", "/schedules", "/webhooks"):
        await _ask(doors, client, f"GET {path}", "GET", path, who="the owner, in a list", presented=doors.keys.own)


async def export_each(doors: Doors) -> None:
    """Export each customer: everything of theirs is in it, and nothing of anybody else's."""
    async with api_client(doors.installation, doors.keys.own) as client:

        async def one(planted: Planted) -> None:
            response = await client.get(f"/customers/{planted.tenant_id}/export")
            doors.watch.tried["exports"] += 1
            doors.watch.look(response.text, area="exports", place="an export", owner=planted.number)

        await for_each(doors.planted, one)


async def webhook_for(client: httpx2.AsyncClient) -> str:
    """Make an endpoint at which nobody listens, for all that happens; return its id. Errors: `Unavailable`."""
    events = ["session.replied", "approval.requested", "turn.failed", "customer.erased"]
    body = {"url": "https://audit.invalid/hook", "events": events, "agent": AUDITED}
    return str((await wanted(client, "POST", "/webhooks", json=body))["id"])


async def search_deliveries(doors: Doors, endpoint: str) -> None:
    """Search what is told of webhooks that wait."""
    async with api_client(doors.installation, doors.keys.own) as client:
        response = await client.get(f"/webhooks/{endpoint}/deliveries", params={"limit": 100})
        doors.watch.look(response.text, area=AREA, place="deliveries of webhooks", owner=None)
