"""What must hold once everything is over, whatever was killed: nothing lost, nothing doubled, nothing stuck."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, LiteralString

from psycopg.rows import TupleRow
from tests.faults.obedient import Trace, answered_by, parse_request

from subclaw.channels.sms.words import split_sms
from subclaw.store.database import DatabaseAddress, Role, connect
from subclaw.testing.channels.twilio import TakenMessage

REST_POLL_S = 0.01
AT_REST = """
    SELECT NOT EXISTS (SELECT FROM conversation
                       WHERE owner IS NOT NULL OR wake_at IS NOT NULL OR turn_open OR inbox_seq <> drained_seq)
       AND NOT EXISTS (SELECT FROM outbox WHERE state IN ('queued', 'sending') OR ask_at IS NOT NULL)
       AND NOT EXISTS (SELECT FROM schedule WHERE state = 'pending')
"""
CONVERSATIONS = """
    SELECT id, channel, address, next_seq, inbox_seq, owner, wake_at, turn_open, inbox_seq <> drained_seq, failures
    FROM conversation ORDER BY id
"""
EVENTS = "SELECT conversation_id, seq, type, body FROM event ORDER BY conversation_id, seq"
OUTBOX = "SELECT conversation_id, address, text, state FROM outbox ORDER BY id"
SCHEDULES = "SELECT id, conversation_id, mode, state FROM schedule"


@dataclass(kw_only=True)
class Findings:
    """What is wrong, in words. `given_up` counts the turns that were begun in vain too often."""

    lost: list[str] = field(default_factory=list)
    duplicate: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    given_up: int = 0

    def all(self) -> list[str]:
        """Return everything that is wrong."""
        return [*self.lost, *self.duplicate, *self.stuck]


@dataclass(kw_only=True)
class _Turn:
    """A turn as its events tell it: the requests that came in, and the replies."""

    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)
    outcome: str = ""


async def look(address: DatabaseAddress, query: LiteralString) -> Sequence[TupleRow]:
    """Ask the database, as its owner."""
    async with await connect(address, Role.OWNER) as connection:
        return await (await connection.execute(query)).fetchall()


async def until_at_rest(address: DatabaseAddress) -> None:
    """Wait until nothing is left to be done."""
    async with await connect(address, Role.OWNER) as connection:
        while await (await connection.execute(AT_REST)).fetchall() != [(True,)]:
            await asyncio.sleep(REST_POLL_S)


async def find(
    address: DatabaseAddress, said: Mapping[str, Sequence[str]], trace: Trace, taken: Sequence[TakenMessage]
) -> Findings:
    """Compare everything. `said` has the ids of the messages that were acknowledged, by address and in order."""
    found = Findings()
    events: dict[int, list[tuple[int, str, dict[str, Any]]]] = defaultdict(list)
    for conversation_id, seq, kind, body in await look(address, EVENTS):
        events[conversation_id].append((seq, kind, body))
    outbox = await look(address, OUTBOX)
    for row in await look(address, CONVERSATIONS):
        id, channel, person, next_seq, *_ = row
        _check_rest(found, row)
        if [seq for seq, _, _ in events[id]] != list(range(1, next_seq)):
            found.lost.append(f"{person}: events are missing or doubled")
        kinds = [(kind, body) for _, kind, body in events[id]]
        turns = _turns(found, person, kinds)
        found.given_up += sum(turn.outcome == "failed" for turn in turns)
        _check_messages(found, person, said.get(person, ()), turns)
        _check_replies(found, person, turns)
        _check_calls(found, person, kinds)
        queued = [body["text"] for kind, body in kinds if kind == "reply.queued"]
        if channel == "sms" and Counter(queued) != Counter(text for owner, _, text, _ in outbox if owner == id):
            found.lost.append(f"{person}: the outbox has not what was queued")
    _check_outbox(found, outbox, taken)
    _check_schedules(found, await look(address, SCHEDULES), events)
    for call, times in Counter(trace.noted("once")).items():
        if times > 1:
            found.duplicate.append(f"{call} had its effect {times} times")
    return found


def _check_rest(found: Findings, row: TupleRow) -> None:
    _, _, person, _, _, owner, wake_at, turn_open, waiting, failures = row
    if owner is not None or wake_at is not None or turn_open or waiting or failures:
        state = f"owner {owner}, wake_at {wake_at}, open {turn_open}, inbox waits {waiting}, failures {failures}"
        found.stuck.append(f"{person}: {state}")


def _turns(found: Findings, person: str, events: Sequence[tuple[str, dict[str, Any]]]) -> list[_Turn]:
    """Return a conversation's turns; what is in none is lost."""
    turns: list[_Turn] = []
    runs = False
    for kind, body in events:
        match kind:
            case "turn.started":
                if runs:
                    found.duplicate.append(f"{person}: a turn began in a turn")
                turns.append(_Turn())
                runs = True
            case "message.received" | "schedule.due" if not runs:
                found.lost.append(f"{person}: {body} is in no turn")
            case "message.received" | "schedule.due":
                turns[-1].messages += [body["provider_id"]] if "provider_id" in body else []
                request = parse_request(body["text"])
                turns[-1].requests += [request.id] if request else []
            case "reply.queued" if body.get("schedule_id") is None:
                turns[-1].replies.append(body["text"])
            case "turn.finished":
                turns[-1].outcome = body["outcome"]
                runs = False
    return turns


def _check_messages(found: Findings, person: str, said: Sequence[str], turns: Sequence[_Turn]) -> None:
    """Each message that was acknowledged is in one turn, and in the order in which it was said."""
    received = [id for turn in turns for id in turn.messages]
    times = Counter(received)
    found.lost.extend(f"{person}: message {id} is in no turn" for id in said if not times[id])
    found.duplicate.extend(f"{person}: message {id} is in {n} turns" for id, n in times.items() if n > 1)
    if [id for id in received if id in said] != [id for id in said if times[id]]:
        found.lost.append(f"{person}: the order is {received}, not {list(said)}")


def _check_replies(found: Findings, person: str, turns: Sequence[_Turn]) -> None:
    """Each turn has one reply, and each request is answered in one."""
    answered = Counter(id for turn in turns for reply in turn.replies for id in answered_by(reply))
    for turn in turns:
        if len(turn.replies) > 1:
            found.duplicate.append(f"{person}: {len(turn.replies)} replies to {turn.requests}")
        if not turn.replies or not turn.outcome:
            found.lost.append(f"{person}: no reply to {turn.requests}")
        if turn.outcome == "answered":
            found.lost.extend(f"{person}: {id} is not answered" for id in turn.requests if not answered[id])
    found.duplicate.extend(f"{person}: {id} is answered {n} times" for id, n in answered.items() if n > 1)


def _check_calls(found: Findings, person: str, events: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Each call that was started has one result."""
    started = {body["call_id"] for kind, body in events if kind == "tool.started"}
    finished = Counter(body["call_id"] for kind, body in events if kind == "tool.finished")
    given_up = any(kind == "turn.finished" and body["outcome"] == "failed" for kind, body in events)
    if not given_up:
        found.lost.extend(f"{person}: {call} has no result" for call in started - set(finished))
    found.duplicate.extend(f"{person}: {call} has {n} results" for call, n in finished.items() if n > 1)


def _check_outbox(found: Findings, outbox: Sequence[TupleRow], taken: Sequence[TakenMessage]) -> None:
    """Each part of every reply went out once, and nothing is left in doubt."""
    times = Counter((message.to, message.text) for message in taken)
    found.duplicate.extend(f"{to} got {text[:40]!r} {n} times" for (to, text), n in times.items() if n > 1)
    for _, address, text, state in outbox:
        parts = [times[address, part] for part in split_sms(text)]
        if state == "sent" and 0 in parts:
            found.lost.append(f"{address}: {text[:40]!r} did not go out")
        if state != "sent":
            found.stuck.append(f"{address}: {text[:40]!r} is {state}")


def _check_schedules(
    found: Findings, schedules: Sequence[TupleRow], events: Mapping[int, Sequence[tuple[int, str, dict[str, Any]]]]
) -> None:
    """Each schedule happened once."""
    kinds: Mapping[str, Collection[str]] = {"message": ("reply.queued",), "agent_turn": ("schedule.due",)}
    for id, conversation_id, mode, state in schedules:
        happened = [body for _, kind, body in events[conversation_id] if kind in kinds[mode]]
        times = sum(body.get("schedule_id") == id for body in happened)
        if state == "pending":
            found.stuck.append(f"schedule {id} is pending")
        elif times != 1:
            (found.duplicate if times else found.lost).append(f"schedule {id} happened {times} times")
