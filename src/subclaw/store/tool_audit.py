"""The audit log of agents' tools: decisions with reasons, and what limits are counted by."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from subclaw.core.approval import canonical_arguments, digest
from subclaw.core.business import CustomerSession
from subclaw.core.errors import Invalid
from subclaw.core.tool import Caller
from subclaw.core.tool_dry_run import Decided
from subclaw.core.tool_policy import ALLOWED, Decision, Effect, Usage, Window
from subclaw.store.database import Connection, Database
from subclaw.store.events import storable

NAMES_LIMIT = 50
REASON_LIMIT_CHARACTERS = 300

_HOLD = "SELECT hold_tool_usage(%s, %s, %s, %s, %s::jsonb)"
_RECORD = """
    SELECT record_tool_decision(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb, %s::jsonb, %s)
"""
_RECENT = """
    SELECT d.at, d.agent, d.version, t.customer, d.tool, d.effect, d.approved, d.reason, d.argument_names,
           d.arguments_digest, d.arguments, d.call_id
    FROM tool_decision d JOIN tenant t ON t.id = d.tenant_id
    WHERE d.agent = %s AND d.at >= %s AND (t.customer = %s OR %s::text IS NULL) AND NOT (d.effect = 'allow' AND %s)
    ORDER BY d.at DESC, d.id DESC LIMIT %s
"""


@dataclass(frozen=True, kw_only=True)
class AuditedCall:
    """A call that is decided on, as the log is to have it. `approved` says that a person has said yes to it.

    `arguments` are kept in the clear if `keeps_arguments`, otherwise their names and a digest.
    """

    session: CustomerSession
    caller: Caller
    tool: str
    arguments: Mapping[str, Any]
    amounts: Mapping[str, Decimal]
    keeps_arguments: bool
    approved: bool
    at: datetime


@dataclass(frozen=True, kw_only=True)
class LoggedToolDecision:
    """A decision as the log has it."""

    decided: Decided
    agent: str
    version: int
    reason: str
    argument_names: tuple[str, ...]
    arguments_digest: str
    call_id: str


class StoreToolAudit:
    """The log, in the application's role."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def decide(
        self, call: AuditedCall, windows: Sequence[Window], decide: Callable[[Usage], Decision]
    ) -> Decision:
        """Decide on a call by what there was in windows, and write it down, with nobody deciding in between.

        A call that was allowed before is allowed: it was interrupted and is made again. Errors: `Unavailable`.
        """
        if not windows:
            decision = decide({})
            await self._database.rows(_RECORD, *_row(call, decision))
            return decision
        async with self._database.transaction() as connection:
            usage = await _usage(connection, call, windows)
            if usage is None:
                return ALLOWED
            decision = decide(usage)
            await connection.execute(_RECORD, _row(call, decision))
            return decision


async def _usage(connection: Connection, call: AuditedCall, windows: Sequence[Window]) -> Usage | None:
    asked = [
        {
            "scope": window.scope.value,
            "tools": list(window.tools),
            "since": window.since.isoformat(),
            "path": ".".join(window.path),
        }
        for window in windows
    ]
    caller = call.caller
    values = caller.tenant_id, call.session.agent, caller.conversation_id, caller.call_id, json.dumps(asked)
    row = await (await connection.execute(_HOLD, values)).fetchone()
    assert row is not None
    return None if row[0] is None else dict(zip(windows, row[0], strict=True))


def _row(call: AuditedCall, decision: Decision) -> tuple[object, ...]:
    caller, session = call.caller, call.session
    names = sorted(call.arguments)[:NAMES_LIMIT]
    return (
        *(caller.tenant_id, session.agent, session.version, caller.conversation_id, caller.call_id, call.tool),
        *(decision.effect.value, call.approved, decision.reason[:REASON_LIMIT_CHARACTERS]),
        [name[:64].replace("\0", "") for name in names],
        _digest(call.arguments),
        json.dumps(storable(call.arguments)) if call.keeps_arguments else None,
        json.dumps({path: str(number) for path, number in call.amounts.items()}),
        call.at,
    )


def _digest(arguments: Mapping[str, Any]) -> str:
    """Return the digest that an approval of these arguments has, so that the two can be held together."""
    try:
        return digest(canonical_arguments(json.dumps(arguments)))
    except Invalid:  # longer than anybody is asked about
        return digest(json.dumps(arguments, sort_keys=True))


async def recent_tool_decisions(
    operator: Database, agent: str, *, since: datetime, customer: str | None, only_denied: bool, limit: int
) -> tuple[LoggedToolDecision, ...]:
    """List decisions on calls of an agent's tools, the newest first. In the operator's role. Errors: `Unavailable`."""
    rows = await operator.rows(_RECENT, agent, since, customer, customer, only_denied, limit)
    return tuple(
        LoggedToolDecision(
            decided=Decided(
                tool=tool, effect=Effect(effect), at=at, customer=whose, arguments=arguments, approved=approved
            ),
            agent=name,
            version=version,
            reason=reason,
            argument_names=tuple(names),
            arguments_digest=digested,
            call_id=call_id,
        )
        for at, name, version, whose, tool, effect, approved, reason, names, digested, arguments, call_id in rows
    )


async def prune_tool_decisions(database: Database) -> int:
    """Forget decisions of more than 30 days ago; return how many. In the application's role. Errors: `Unavailable`."""
    ((count,),) = await database.rows("SELECT prune_tool_decisions()")
    return int(count)
