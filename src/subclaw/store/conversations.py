"""Conversations: messages in, leases, events appended under them, and turns finished."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from subclaw.core.access import LINK_LIFE_S
from subclaw.core.approval import ApprovalRequested
from subclaw.core.channel import Address, InboundMessage, Receipt
from subclaw.core.event import Event, ToolFinished
from subclaw.core.fault import FaultPoint, reached
from subclaw.core.tenant import TenantId
from subclaw.core.turn import Conversation, Lease
from subclaw.store.access import REQUEST_LIMIT
from subclaw.store.database import Database
from subclaw.store.events import decode, encode
from subclaw.store.flush import Flush
from subclaw.store.notify import WORKER_LOCK

TENANT_LIMIT = 16
"""Most turns of one tenant that run at once, on all workers together."""

CLAIM_WINDOW = 1_000
"""How many of the conversations that wait are looked at to choose from: those that have waited longest."""

EVENT_LIMIT = 500
EVENT_LIMIT_BYTES = 4_000_000
"""Most events of a conversation that a turn looks back on, and most bytes of them, whatever it has itself."""

_OPEN_TURN = """
    SELECT o.name, o.channel, o.address, thread_of(%s), o.failures, o.resumed, o.age_s, has_budgets(),
        transcript_from_summary(%s, %s, %s),
        CASE WHEN EXISTS (SELECT FROM approval a WHERE a.conversation_id = %s AND a.state = 'open')
            THEN open_approvals(%s, %s) END,
        o.model, o.time_zone, o.house_revision, o.is_awake,
        (SELECT ARRAY[t.agent, (SELECT s.version::text FROM session s WHERE s.conversation_id = %s)]
            FROM tenant t WHERE t.id = %s AND t.agent IS NOT NULL)
    FROM open_turn(%s, %s, %s) o
"""

_RECEIVE = "SELECT * FROM receive(%s, %s, %s, %s, %s, %s)"

_RECEIVE_REDACTED = """
    SELECT * FROM receive(
        %s, %s, %s, %s, %s, %s, %s::text[], %s, %s, %s::bytea[], make_interval(secs => %s), %s)
"""

_RECEIVE_MORE = """
    SELECT * FROM receive_more(
        %s, %s, %s, %s, %s, %s, %s::text[], %s, %s, %s::bytea[], make_interval(secs => %s), %s,
        %s::jsonb, %s::text[], %s::bytea[])
"""

_APPEND = "SELECT append(%s, %s, %s, %s, %s)"
_APPEND_WITHOUT_WAIT = f"{_APPEND} FROM set_config('synchronous_commit', 'off', true)"

_FINISH = "SELECT finish(%s, %s, %s, %s, %s, %s)"
_FINISH_AND_SEND = "SELECT finish(%s, %s, %s, %s, %s, %s) FROM set_config('synchronous_commit', 'off', true)"
"""Those that notify hold each other up until they are on disk. Whoever sends the reply waits for the disk before it."""

_NOTHING_REMOVED: tuple[object, ...] = (None, None, None, [], 0, 0)
_IN_THREAD = "SELECT r.* FROM ({}) r CROSS JOIN LATERAL note_thread(r.tenant_id, r.conversation_id, %s, %s)"


@dataclass(frozen=True, kw_only=True)
class OpenTurn:
    """A conversation in the hands of a worker, with its events since the last summary.

    `failures` says how often the turn was begun in vain since it last finished a step. One that was begun before is
    `resumed`, `age_s` after that. `has_budgets` says whether the operator has set any budget at all; `waiting` is what
    waits for a person's decision, also where that is not among the events.
    """

    conversation: Conversation
    failures: int
    resumed: bool
    age_s: float
    has_budgets: bool
    events: tuple[Event, ...]
    waiting: tuple[ApprovalRequested, ...]


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What was taken out of a message: its kinds, and what the person is told of it, by the outbox with `send`.

    `token_hashes` are of the links in that, as many as there are kinds, or fewer.
    """

    kinds: tuple[str, ...]
    notice: str
    send: bool
    token_hashes: tuple[bytes, ...]


async def receive(
    database: Database, message: InboundMessage, names: Sequence[str], removal: Removal | None = None
) -> Receipt:
    """Store a message and wake its conversation. `names` are tried in turn for a stranger's tenant."""
    reached(FaultPoint.INTAKE_RECEIVING)
    stored: tuple[object, ...] = (
        message.sender.channel,
        message.sender.address,
        message.provider_id,
        message.text,
        message.received_at,
        list(names),
    )
    query, values = _RECEIVE, stored
    if message.speaker or message.attachments:
        told = _told(removal) if removal else _NOTHING_REMOVED
        query, values = _RECEIVE_MORE, (*stored, *told, *_more(message))
    elif removal:
        query, values = _RECEIVE_REDACTED, (*stored, *_told(removal))
    if message.sender.thread:
        query, values = _IN_THREAD.format(query), (*values, message.provider_id, message.sender.thread)
    (row,) = await database.rows(query, *values)
    reached(FaultPoint.INTAKE_RECEIVED)
    return Receipt(tenant_id=TenantId(row[0]), conversation_id=row[1], duplicate=row[2])


async def claim(database: Database, worker_id: int, limit: int) -> tuple[Lease, ...]:
    """Take leases of up to `limit` conversations that have something to do, those of busy tenants last."""
    rows = await database.rows("SELECT * FROM claim(%s, %s, %s, %s)", worker_id, limit, TENANT_LIMIT, CLAIM_WINDOW)
    if rows:
        reached(FaultPoint.WORKER_CLAIMED)
    return tuple(Lease(tenant_id=TenantId(row[0]), conversation_id=row[1], epoch=row[2]) for row in rows)


async def reap(database: Database) -> int:
    """Free the conversations of dead workers; return how many there were."""
    ((count,),) = await database.rows("SELECT reap(%s)", WORKER_LOCK)
    if count:
        reached(FaultPoint.WORKER_REAPED)
    return int(count)


async def open_turn(database: Database, lease: Lease) -> OpenTurn:
    """Begin a turn with what waits in the inbox, or take up the one that a dead worker left."""
    id = lease.conversation_id
    looked_at = id, id, EVENT_LIMIT, EVENT_LIMIT_BYTES, id, lease.tenant_id, id, id, lease.tenant_id
    (row,) = await database.rows(_OPEN_TURN, *looked_at, *_key(lease))
    reached(FaultPoint.TURN_OPENED)
    name, channel, address, thread, failures, resumed, age_s, has_budgets, events, waiting, *settings = row
    return OpenTurn(
        conversation=_conversation(lease, name, Address(channel=channel, address=address, thread=thread), *settings),
        failures=failures,
        resumed=resumed,
        age_s=age_s,
        has_budgets=has_budgets,
        events=decode(events),
        waiting=tuple(event for event in decode(waiting or ()) if isinstance(event, ApprovalRequested)),
    )


async def append(
    database: Database, lease: Lease, events: Sequence[Event], *, drain: bool = False, flush: Flush | None = None
) -> tuple[Event, ...]:
    """Append events; with `drain`, also what was said meanwhile, which is returned.

    With `flush`, the wait for the disk is shared with other turns, and there is none for what calls came to.
    """
    reached(FaultPoint.JOURNAL_WRITING)
    query = _APPEND if flush is None else _APPEND_WITHOUT_WAIT
    ((said,),) = await database.rows(query, *_key(lease), encode(events), drain)
    if flush and not all(isinstance(event, ToolFinished) for event in events):
        await flush.wait()
    reached(FaultPoint.JOURNAL_WRITTEN)
    return decode(said)


async def waiting_messages(database: Database, lease: Lease) -> tuple[str, ...]:
    """Return what people said that is not in the transcript yet, oldest first."""
    return tuple([text for (text,) in await database.rows("SELECT * FROM waiting_messages(%s, %s, %s)", *_key(lease))])


async def turn_away(database: Database, lease: Lease, *, reply: str, send: bool) -> None:
    """Answer the messages that wait with one reply, and leave them out of the turn."""
    await database.rows("SELECT turn_away(%s, %s, %s, %s, %s)", *_key(lease), reply, send)


async def finish(database: Database, lease: Lease, events: Sequence[Event], *, reply: str, send: bool) -> bool:
    """End the turn; with `send`, its reply goes to the outbox.

    Returns whether the lease was given back; if not, more was said meanwhile and a new turn is due under it.
    """
    reached(FaultPoint.TURN_FINISHING)
    query = _FINISH_AND_SEND if send else _FINISH
    ((done,),) = await database.rows(query, *_key(lease), encode(events), reply, send)
    reached(FaultPoint.TURN_FINISHED)
    return bool(done)


async def fail_turn(database: Database, lease: Lease) -> tuple[int, str]:
    """Count that the turn could not go on; return how often by now, and the conversation's channel."""
    ((failures, channel),) = await database.rows("SELECT * FROM fail_turn(%s, %s, %s)", *_key(lease))
    return failures, channel


async def release(database: Database, lease: Lease, delay_s: float) -> None:
    """Give the lease back with the turn unfinished; it is taken up again after `delay_s`."""
    await database.rows("SELECT release(%s, %s, %s, make_interval(secs => %s))", *_key(lease), delay_s)


def _conversation(
    lease: Lease,
    name: str,
    reply_to: Address,
    model: str | None,
    time_zone: str | None,
    house_revision: int | None,
    is_awake: bool,
    of_agent: tuple[str, str | None] | None,
) -> Conversation:
    agent, version = of_agent or ("", None)
    return Conversation(
        lease=lease,
        tenant_name=name,
        reply_to=reply_to,
        model=model or "",
        time_zone=time_zone or "",
        house_revision=house_revision or 0,
        is_awake=is_awake,
        agent=agent,
        agent_version=int(version or 0),
    )


def _more(message: InboundMessage) -> tuple[object, ...]:
    """Return what the event of a message tells beside its words, and its files, in order."""
    files = [
        {"name": one.name, "media_type": one.media_type, "size_bytes": one.size_bytes} for one in message.attachments
    ]
    more = json.dumps({"speaker": message.speaker, "attachments": files})
    return more, [one.handle for one in message.attachments], [one.content for one in message.attachments]


def _told(removal: Removal) -> tuple[object, ...]:
    hashes = list(removal.token_hashes)
    return list(removal.kinds), removal.notice, removal.send, hashes, LINK_LIFE_S, REQUEST_LIMIT


def _key(lease: Lease) -> tuple[int, int, int]:
    return lease.tenant_id, lease.conversation_id, lease.epoch
