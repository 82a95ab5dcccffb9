"""What a turn may spend: room is reserved before a model is asked, and segments are charged before a reply is sent."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC

from subclaw.core.agent import AgentSettings
from subclaw.core.budget import Reached, Tariff, estimate, over_detail, over_words, soft_words, turn_over
from subclaw.core.errors import Exhausted
from subclaw.core.event import BudgetReached, BudgetWarned, Event, ModelCancelled
from subclaw.core.model import Model, ModelReply, Prompt, Usage
from subclaw.core.tenant import TenantId
from subclaw.core.tokens import prompt_tokens
from subclaw.core.turn import Lease
from subclaw.store.budgets import charge_segments, reserve
from subclaw.store.completions import completions_of_turn
from subclaw.store.database import Database
from subclaw.turns.journal import Journal

CountSegments = Callable[[str, Sequence[str]], int]
"""Returns how many segments the parts of a reply are that goes out by a channel of this name."""


def no_segments(channel: str, parts: Sequence[str]) -> int:
    """Return what channels have that are not charged by the segment."""
    return 0


@dataclass(frozen=True, kw_only=True)
class Leave:
    """A model may be asked: the usual one, or the `cheaper`. `warning` is what the person is to know with the reply."""

    cheaper: bool = False
    warning: BudgetWarned | None = None


@dataclass(frozen=True, kw_only=True)
class Spending:
    """What limits a turn's spending. `has_budgets` is whether there are any beside the turn's own limits.

    Where there are none, leave costs nothing.
    """

    database: Database
    tariff: Tariff
    agent: AgentSettings
    has_budgets: bool


async def ask_leave(spending: Spending, lease: Lease, prompt: Prompt, events: Sequence[Event]) -> Leave | BudgetReached:
    """Reserve what asking a model may use, unless something has no room for it. Errors: `LeaseLost`, `Unavailable`."""
    agent = spending.agent
    has_limits = not (agent.turn_limit_tokens is agent.turn_limit_microusd is None)
    if not spending.has_budgets and not has_limits:
        return Leave()
    call = estimate(prompt, spending.tariff)
    if has_limits and (over := turn_over(events, agent, call, await completions_of_turn(spending.database, lease))):
        return over
    if not spending.has_budgets:
        return Leave()
    room = await reserve(spending.database, lease, call)
    if room.hard:
        return BudgetReached(public=over_words(room.hard))
    if room.soft is None:
        return Leave()
    degraded = bool(spending.tariff.cheaper)
    return Leave(cheaper=degraded, warning=_warning(room.soft, degraded=degraded) if room.warn else None)


def _warning(reached: Reached, *, degraded: bool) -> BudgetWarned:
    until = reached.until.astimezone(UTC).isoformat() if reached.until else "infinity"
    return BudgetWarned(public=soft_words(reached, degraded=degraded), until=until)


def usage_at_most(prompt: Prompt, tariff: Tariff, *, cheaper: bool) -> Usage:
    """Return what a call used whose reply nobody waited for: what its prompt takes, by the model that was asked."""
    asked = tariff.cheaper if cheaper else tariff.model
    usage = Usage(model=asked, input_tokens=prompt_tokens(prompt), output_tokens=0)
    return priced(usage, tariff)


def priced(usage: Usage, tariff: Tariff) -> Usage:
    """Return what was used with what it cost."""
    return replace(usage, cost_microusd=tariff.price(usage))


class OverBudget(Exhausted):
    """A hard limit has no room for a model call; the public message says so in words for the person."""


class BudgetedModel:
    """The models of a turn within its budgets: each call is reserved before and priced after it, even if it is cut off.

    The `cheaper` model answers when a budget is nearly used up; that the person is to be told so goes to the journal.
    """

    def __init__(
        self, *, usual: Model, cheaper: Model | None, spending: Spending, lease: Lease, journal: Journal
    ) -> None:
        self._usual = usual
        self._cheaper = cheaper
        self._spending = spending
        self._lease = lease
        self._journal = journal

    async def ask(self, prompt: Prompt) -> ModelReply:
        """See `core.model.Model.ask`. Errors beside those: `OverBudget`, `LeaseLost`."""
        leave = await ask_leave(self._spending, self._lease, prompt, self._journal.events())
        if isinstance(leave, BudgetReached):
            raise OverBudget(leave.public)
        model = self._cheaper if leave.cheaper and self._cheaper else self._usual
        try:
            reply = await model.ask(prompt)
        except asyncio.CancelledError:
            usage = usage_at_most(prompt, self._spending.tariff, cheaper=leave.cheaper)
            self._journal.add(ModelCancelled(usage=usage))
            raise
        if leave.warning:
            self._journal.add(leave.warning)
        return replace(reply, usage=priced(reply.usage, self._spending.tariff))


async def over_segments(database: Database, tenant_id: TenantId, outbox_id: int, segments: int) -> str | None:
    """Charge the segments of a reply that is about to be sent; return why it may not be, in words for the operator.

    Said again for the same reply it is not charged again. Errors: `Unavailable`.
    """
    reached = await charge_segments(database, tenant_id, outbox_id, segments)
    return over_detail(reached) if reached else None
