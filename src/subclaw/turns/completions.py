"""Completions: what models are asked beside turns, several at once, each reserved before and charged after it.

What a turn's own calls are to `spending`, these are here; they are not events, since no conversation goes on by them.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from subclaw.core.agent import AgentSettings
from subclaw.core.budget import FREE, TURN_OVER, Estimate, Tariff, estimate, over_words
from subclaw.core.completion import Asker
from subclaw.core.errors import Exhausted, SubclawError, Unavailable
from subclaw.core.model import Model, ModelReply, Prompt, Usage
from subclaw.core.tenant import TenantId
from subclaw.store.completions import Reservation, lapse_completions, reserve_completion, settle_completion
from subclaw.store.database import Database
from subclaw.store.suspension import require_active
from subclaw.turns.spending import OverBudget, priced, usage_at_most

T = TypeVar("T")

log = logging.getLogger(__name__)

AT_ONCE = 8
"""Most completions of a tenant that are asked at once, by one worker."""
WAITING_LIMIT = 64
"""Most completions of a tenant that are asked or wait for that."""
COMPLETION_S = 240.0
"""How long one may take, with waiting for its turn: less than the gateway waits for an answer."""
MARGIN_S = 30.0
"""For how much longer its reservation lives."""
SETTLE_S = 5.0
SETTLE_PAUSE_S = 0.2
LAPSE_INTERVAL_S = 10.0


@dataclass(frozen=True, kw_only=True)
class AskedModels:
    """The models that answer for a tenant: the usual one, and one for when money gets short. `tariff` names both."""

    usual: Model
    cheaper: Model | None = None
    tariff: Tariff = FREE


ModelsOf = Callable[[TenantId], Awaitable[AskedModels]]
"""Returns a tenant's models. Errors: `SubclawError`."""


@dataclass(eq=False, kw_only=True)
class _Places:
    """A tenant's completions: `taken` are asked or wait, and those that are asked hold `asking`."""

    taken: int = 0
    asking: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))


class MeteredCompletions:
    """See `core.completion.Completions`. The operator's settings in `agent` limit what a turn may use."""

    def __init__(
        self,
        *,
        database: Database,
        models_of: ModelsOf,
        agent: AgentSettings,
        completion_s: float = COMPLETION_S,
    ) -> None:
        self._database = database
        self._models_of = models_of
        self._agent = agent
        self._completion_s = completion_s
        self._places: dict[TenantId, _Places] = {}

    async def complete(self, asker: Asker, prompts: Sequence[Prompt]) -> Sequence[ModelReply | SubclawError]:
        """See `Completions.complete`."""
        await require_active(self._database, asker.tenant_id)
        models = await self._models_of(asker.tenant_id)
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(self._answered(asker, models, prompt)) for prompt in prompts]
        return [one.result() for one in asked]

    async def _answered(self, asker: Asker, models: AskedModels, prompt: Prompt) -> ModelReply | SubclawError:
        try:
            with self._place(asker.tenant_id) as places:
                async with asyncio.timeout(self._completion_s), places.asking:
                    return await self._ask(asker, models, prompt)
        except TimeoutError:
            return Unavailable("The model took too long.", internal="a completion took too long")
        except SubclawError as error:
            return error

    @contextlib.contextmanager
    def _place(self, tenant_id: TenantId) -> Iterator[_Places]:
        """Take one of a tenant's places. Errors: `Exhausted` if there is none."""
        places = self._places.setdefault(tenant_id, _Places())
        if places.taken >= WAITING_LIMIT:
            raise Exhausted(f"{WAITING_LIMIT} prompts are being asked already. Wait until some are answered.")
        places.taken += 1
        try:
            yield places
        finally:
            places.taken -= 1
            if not places.taken:
                del self._places[tenant_id]

    async def _ask(self, asker: Asker, models: AskedModels, prompt: Prompt) -> ModelReply:
        reserved = await self._reserve(asker, estimate(prompt, models.tariff))
        id = _require_room(reserved)
        is_cheaper = bool(reserved.room.soft and models.tariff.cheaper)
        model = models.cheaper if is_cheaper and models.cheaper else models.usual
        used: Usage | None = None
        try:
            reply = await model.ask(prompt)
            used = priced(reply.usage, models.tariff)
            return replace(reply, usage=used)
        except asyncio.CancelledError:
            used = usage_at_most(prompt, models.tariff, cheaper=is_cheaper)
            raise
        finally:
            await _to_its_end(self._settle(asker, id, used))

    async def _reserve(self, asker: Asker, call: Estimate) -> Reservation:
        """Reserve, and take it back if this is cancelled meanwhile: else who comes and goes would use up the room."""
        lives_s = self._completion_s + MARGIN_S
        reserving = asyncio.ensure_future(reserve_completion(self._database, asker, call, self._agent, lives_s=lives_s))
        try:
            return await _to_its_end(reserving)
        except asyncio.CancelledError:
            if reserving.done() and not reserving.exception() and (id := reserving.result().id) is not None:
                await _to_its_end(self._settle(asker, id, None))
            raise

    async def _settle(self, asker: Asker, id: int, used: Usage | None) -> None:
        """Charge a completion, and try again while the database is away; what is given up then lapses."""
        try:
            async with asyncio.timeout(SETTLE_S):
                while True:
                    try:
                        return await settle_completion(self._database, asker, id, used)
                    except Unavailable:
                        await asyncio.sleep(SETTLE_PAUSE_S)
        except TimeoutError:
            log.error("tenant %d: a completion could not be charged", asker.tenant_id)


async def _to_its_end(doing: Awaitable[T]) -> T:
    """Await something that is soon over, and see it through if this is cancelled meanwhile."""
    done = asyncio.ensure_future(doing)
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        await asyncio.wait([done], timeout=SETTLE_S)
        raise


def _require_room(reserved: Reservation) -> int:
    """Return the id of a reservation. Errors: `OverBudget`, which says in words why there is none."""
    if reserved.room.hard:
        raise OverBudget(over_words(reserved.room.hard))
    if reserved.id is None:
        raise OverBudget(TURN_OVER)
    return reserved.id


async def keep_lapsing(database: Database) -> None:
    """Give back what completions of dead workers had reserved, until cancelled."""
    while True:
        with contextlib.suppress(Unavailable):
            await lapse_completions(database)
        await asyncio.sleep(LAPSE_INTERVAL_S)
