"""Approvals: asks for them, takes up decisions, and lets expire what nobody decided."""

import asyncio
import logging
import random
import uuid
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from subclaw.core.agent import AgentSettings
from subclaw.core.approval import (
    OPEN_LIMIT,
    ApprovalLapsed,
    ApprovalRequested,
    LapseReason,
    canonical_arguments,
    choose_code,
    digest,
    expired_words,
    expiry,
    needs_approval,
    waiting_words,
)
from subclaw.core.decision import open_requests, requests, settle
from subclaw.core.errors import Invalid, SubclawError
from subclaw.core.event import Event, ReplyQueued, ToolFinished
from subclaw.core.tenant import TenantId
from subclaw.core.tool import ToolCall, ToolDefinition
from subclaw.store import approvals
from subclaw.store.approvals import Resting
from subclaw.store.database import Database
from subclaw.turns.journal import Journal

log = logging.getLogger(__name__)

AT_ONCE = 100
TICK_S = 5.0
NOT_AFTER = (
    "Not done: the call before it waits for a person's approval. Make it again after that, if it is still wanted."
)
"""What a model is told of a call that came after one that waits."""

_RANDOM = random.SystemRandom()


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def approver_of(tenant_id: TenantId) -> str:
    """Return who decides in a tenant's conversations: whoever writes there."""
    return f"tenant {tenant_id}"


def require_known(approve: Collection[str], tools: Sequence[ToolDefinition]) -> None:
    """Raise `Invalid` if one of the operator's patterns is of no tool: what was to be guarded would not be."""
    for pattern in approve:
        if not any(needs_approval([pattern], tool.name) for tool in tools):
            names = ", ".join(tool.name for tool in tools)
            raise Invalid(f"approve: there is no tool {pattern!r}. There are: {names}.")


def with_older_requests(waiting: Sequence[ApprovalRequested], events: Sequence[Event]) -> tuple[Event, ...]:
    """Return the events that a turn goes by, and before them those of the requests that wait which are older.

    A summary may stand for those, or they may lie further back than a turn looks.
    """
    known = {request.approval_id for request in requests(events)}
    return *(request for request in waiting if request.approval_id not in known), *events


def take_decisions(journal: Journal, tenant_id: TenantId, now: datetime) -> None:
    """Add to the journal what the decisions among the turn's messages come to."""
    for event in settle(journal.events(), now=now, speaker=approver_of(tenant_id)):
        journal.add(event)


def ask_approval(
    events: Sequence[Event], call: ToolCall, *, agent: AgentSettings, tenant_id: TenantId, now: datetime
) -> ApprovalRequested | ToolFinished:
    """Return the request for a person's approval of a call, or the result that says why there is none."""
    try:
        arguments = canonical_arguments(call.arguments)
    except Invalid as error:
        return _not_asked(call, error.public)
    waiting = [request for request in open_requests(events) if now < request.expires_at]
    for request in waiting:
        if (request.call.name, request.call.arguments) == (call.name, arguments):
            return _not_asked(call, waiting_words(request))
    if len(waiting) >= OPEN_LIMIT:
        return _not_asked(call, f"Not done: {OPEN_LIMIT} calls wait for a person's approval already.")
    return ApprovalRequested(
        approval_id=f"call_{uuid.uuid4().hex[:16]}",
        call=replace(call, arguments=arguments),
        arguments_digest=digest(arguments),
        code=choose_code({request.code for request in requests(events)}, _RANDOM),
        approver=approver_of(tenant_id),
        expires_at=expiry(now, agent.approval_expires_s),
    )


async def keep_deadlines(database: Database, *, read_in_place: Collection[str]) -> None:
    """Let requests expire that nobody decided, until cancelled.

    `read_in_place` are the channels whose replies are read from the transcript; those of others go to the outbox.
    Errors: `Unavailable` if the database is lost.
    """
    while True:
        await expire_due(database, utc_now(), read_in_place)
        await asyncio.sleep(TICK_S)


async def expire_due(database: Database, now: datetime, read_in_place: Collection[str]) -> None:
    """Record what has expired where no turn runs, and tell each person once. Errors: `Unavailable`."""
    for resting in await approvals.resting_with_expired(database, now, AT_ONCE):
        try:
            await _expire(database, resting, now, send=resting.channel not in read_in_place)
        except SubclawError as error:  # one conversation's trouble is not the others'
            log.error("conversation %d: approvals: %s", resting.conversation_id, error.internal)


async def _expire(database: Database, resting: Resting, now: datetime, *, send: bool) -> None:
    waiting = await approvals.open_requests(database, resting.tenant_id, resting.conversation_id)
    expired = [request for request in waiting if request.expires_at <= now]
    if not expired:  # decided in between
        return
    reply = "\n".join(map(expired_words, expired))
    lapsed = [ApprovalLapsed(request=request, reason=LapseReason.EXPIRED) for request in expired]
    await approvals.expire(database, resting, expired, [*lapsed, ReplyQueued(text=reply)], reply=reply, send=send)


def _not_asked(call: ToolCall, words: str) -> ToolFinished:
    return ToolFinished(call_id=call.id, content=words, is_error=True)
