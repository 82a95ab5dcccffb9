"""Enforcement: each tool of an agent wrapped so that the policy decides on every call, on the host, before it is made.

Whatever a model, a customer or a tool's result says, a call comes here as a name and arguments; who asks is told by the
turn, and what the session is bound to by the database. What is denied is told to the model with its reason.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

from subclaw.business.injection import binding_of
from subclaw.core.business import CustomerSession
from subclaw.core.errors import Denied
from subclaw.core.tool import Caller
from subclaw.core.tool_policy import (
    Asked,
    Decision,
    Effect,
    ToolPolicy,
    Usage,
    Window,
    amounts,
    decide,
    must_be_approved,
    windows,
)
from subclaw.store.tool_audit import AuditedCall
from subclaw.tools.toolbox import Perform, Tool

SessionOf = Callable[[Caller], Awaitable[CustomerSession]]
"""Returns the session of a caller's conversation. Errors: `Denied` if it is none."""


class Audit(Protocol):
    """Where decisions are written down, and what limits are counted by."""

    async def decide(
        self, call: AuditedCall, windows: Sequence[Window], decide: Callable[[Usage], Decision]
    ) -> Decision:
        """See `store.tool_audit.StoreToolAudit.decide`."""
        ...


def enforced(
    policy: ToolPolicy,
    tools: Sequence[Tool],
    *,
    session_of: SessionOf,
    audit: Audit,
    clock: Callable[[], datetime],
) -> tuple[Tool, ...]:
    """Return tools that do what the policy allows, and nothing else. Their limits are shared as the rules say."""
    names = tuple(tool.definition.name for tool in tools)

    async def judged(name: str, caller: Caller, arguments: Mapping[str, Any], *, asking: bool) -> Decision:
        session = await session_of(caller)
        now, binding = clock(), binding_of(session)
        asked = Asked(tool=name, arguments=arguments, binding=binding, now=now, tools=names)
        must = must_be_approved(policy, name, arguments)
        call = AuditedCall(
            session=session,
            caller=caller,
            tool=name,
            arguments=arguments,
            amounts=amounts(policy, name, arguments),
            keeps_arguments=policy.keeps_arguments,
            approved=must and not asking,
            at=now,
        )
        return await audit.decide(call, windows(policy, asked), lambda usage: _final(policy, asked, usage, asking))

    return tuple(_wrapped(policy, tool, judged) for tool in tools)


def _final(policy: ToolPolicy, asked: Asked, usage: Usage, asking: bool) -> Decision:
    """Decide. A call that comes to be performed though a person has to approve it has been approved: the turn sees to
    that, and the approval is of these arguments."""
    decision = decide(policy, asked, usage)
    if decision.effect is Effect.ALLOW and asking:
        return Decision(effect=Effect.APPROVE, reason="a person has to approve it, by the agent's settings")
    if decision.effect is Effect.APPROVE and not asking:
        return replace(decision, effect=Effect.ALLOW, reason="a person has approved it")
    return decision


def _wrapped(policy: ToolPolicy, tool: Tool, judged: Callable[..., Awaitable[Decision]]) -> Tool:
    name, inner, inner_settle, inner_must = (
        tool.definition.name,
        tool.perform,
        tool.settle,
        tool.must_be_approved,
    )

    async def perform(caller: Caller, arguments: Mapping[str, Any]) -> str:
        decision = await judged(name, caller, arguments, asking=False)
        if decision.effect is Effect.DENY:
            raise Denied(f"Not done: by the policy of this agent, {decision.reason}.")
        return await inner(caller, arguments)

    async def settle(caller: Caller, arguments: Mapping[str, Any]) -> str | None:
        decision = await judged(name, caller, arguments, asking=True)
        if decision.effect is Effect.DENY:
            raise Denied(f"Not done: by the policy of this agent, {decision.reason}.")
        return await inner_settle(caller, arguments)

    def must(arguments: Mapping[str, Any]) -> bool:
        return must_be_approved(policy, name, arguments) or inner_must(arguments)

    performing: Perform = perform
    return replace(tool, perform=performing, settle=settle, must_be_approved=must)
