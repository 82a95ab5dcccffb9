"""An agent's policy in trials: at the time and in the session that a trial plays, its limits counted in that alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from subclaw.business.enforcement import enforced
from subclaw.core.business import CustomerSession
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller
from subclaw.core.tool_policy import Decision, Effect, ToolPolicy, Usage, Window
from subclaw.store.tool_audit import AuditedCall
from subclaw.tools.toolbox import Tool

NOBODY = TenantId(0)
"""Whose calls those of a trial are."""


@dataclass(frozen=True, kw_only=True)
class Occasion:
    """When a trial plays, for which customer, and what the session is bound to."""

    at: datetime
    customer: str = "trial"
    binding: Mapping[str, Any] = field(default_factory=dict, repr=False)


def guarded(policy: ToolPolicy, tools: Sequence[Tool], occasion: Occasion) -> Sequence[Tool]:
    """Return tools behind a policy, as on that occasion. What a person would have to approve counts as approved."""
    session = CustomerSession(
        tenant_id=NOBODY, agent="", version=0, customer=occasion.customer, session_id="", binding=occasion.binding
    )

    async def session_of(caller: Caller) -> CustomerSession:
        return session

    return enforced(policy, tools, session_of=session_of, audit=_Counted(), clock=lambda: occasion.at)


class _Counted:
    """Decisions that are kept for as long as a trial lasts; see `enforcement.Audit`."""

    def __init__(self) -> None:
        self._allowed: list[AuditedCall] = []

    async def decide(
        self, call: AuditedCall, windows: Sequence[Window], decide: Callable[[Usage], Decision]
    ) -> Decision:
        """Decide on a call by what there was in the trial before it."""
        decision = decide({window: self._used(window) for window in windows})
        if decision.effect is Effect.ALLOW:
            self._allowed.append(call)
        return decision

    def _used(self, window: Window) -> Decimal:
        calls = [call for call in self._allowed if call.tool in window.tools and call.at >= window.since]
        if not window.path:
            return Decimal(len(calls))
        return sum((call.amounts.get(".".join(window.path), Decimal(0)) for call in calls), Decimal(0))
