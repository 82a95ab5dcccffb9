"""Serving visits of programs in machines: let in, waited for, carried, and judged."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from subclaw.core.errors import Invalid, SubclawError
from subclaw.core.machine import PortTrial
from subclaw.core.site_health import TRIAL_S, Outcome, outcome_of
from subclaw.core.tenant import TenantId
from subclaw.machines.guest.answers import NotListening
from subclaw.machines.guest.guest import Guest
from subclaw.machines.life import Visit
from subclaw.machines.visits.answer import Answer
from subclaw.machines.visits.carrying import Caller, NoAnswer, carry
from subclaw.machines.visits.gate import Gate
from subclaw.machines.visits.health import Health
from subclaw.machines.visits.pages import refusal_page, waking_page

AFTER_WAKE_S = 20.0
"""For how long a server is waited for in a machine that has just come up."""

RESTART_S = 3.0
"""For how long it is waited for later, when it may just be starting again."""

VISITS_AT_ONCE = 200
"""How many visits of a tenant's are under way at once; the others wait with what they have sent."""

Visited = Callable[[TenantId], AbstractAsyncContextManager[tuple[Guest, Visit]]]

logger = logging.getLogger(__name__)


class Serving:
    """Serves visits. It never answers for a server that has begun to."""

    def __init__(self, visited: Visited, gate: Gate, health: Health) -> None:
        self._visited = visited
        self._gate = gate
        self._health = health
        self._rooms: dict[TenantId, asyncio.Semaphore] = {}
        self._awaited: dict[tuple[TenantId, int], asyncio.Task[None]] = {}

    async def serve(self, tenant_id: TenantId, port: int, caller: Caller) -> bytes | None:
        """Have a visit answered; return the answer if the server gives none. Raises `OSError` if the visitor left."""
        if refusal := await self._gate.admit(tenant_id, caller.head):
            return refusal_page(refusal)
        room = self._rooms.setdefault(tenant_id, asyncio.Semaphore(VISITS_AT_ONCE))
        answer = caller.answer
        try:
            async with room, self._visited(tenant_id) as (guest, visit):
                await self._carry(guest, visit, port, caller)
        except (NotListening, NoAnswer):
            self._health.note(tenant_id, port, Outcome.SILENT)
        except SubclawError as error:
            logger.info("a visit of port %d of machine %s ended: %s", port, tenant_id, error.internal)
        else:
            if answer.has_begun or not caller.reader.at_eof():
                self._health.note(tenant_id, port, outcome_of(answer.status))
        return None if answer.has_begun else waking_page()

    def forget(self, tenant_id: TenantId) -> None:
        """Forget a tenant whose visitors have all gone."""
        self._rooms.pop(tenant_id, None)

    async def try_port(self, tenant_id: TenantId, port: int, hostname: str) -> PortTrial:
        """See `Machines.try_port`. Raises `SubclawError`."""
        async with self._visited(tenant_id) as (guest, visit):
            try:
                await self._until_listening(guest, visit, port, timeout_s=TRIAL_S)
            except NotListening:
                return PortTrial(is_listening=False)
            status = await first_status(guest, port, hostname)
        if outcome_of(status) is Outcome.SERVED:
            self._health.begin(tenant_id, port)
        return PortTrial(is_listening=True, status=status)

    async def _carry(self, guest: Guest, visit: Visit, port: int, caller: Caller) -> None:
        """Carry a visit as soon as the server listens. Of one with a body nothing is sent before."""
        if not caller.head.has_body and port in visit.life.listening:
            try:
                await carry(guest, port, visit, caller)
                return
            except NotListening:
                visit.life.listening.discard(port)
        await self._wait_together(guest, visit, port)
        await carry(guest, port, visit, caller)

    async def _wait_together(self, guest: Guest, visit: Visit, port: int) -> None:
        """Wait until the server listens, with all others who do. Raises `NotListening`."""
        key = visit.life.tenant_id, port
        waiting = self._awaited.get(key)
        if waiting is None:
            left_s = visit.life.up_s + AFTER_WAKE_S - time.monotonic()
            waiting = asyncio.ensure_future(self._until_listening(guest, visit, port, timeout_s=max(RESTART_S, left_s)))
            self._awaited[key] = waiting
            waiting.add_done_callback(lambda done: self._awaited.pop(key))
            waiting.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.shield(waiting)

    async def _until_listening(self, guest: Guest, visit: Visit, port: int, *, timeout_s: float) -> None:
        try:
            await guest.until_listening(port, timeout_s=timeout_s)
        except Invalid:
            return  # an agent of an older image, which cannot wait
        visit.life.listening.add(port)


async def first_status(guest: Guest, port: int, hostname: str) -> int | None:
    """Ask a program for its first page as a visitor of a hostname; return the status, None if it does not answer."""
    request = (
        f"GET / HTTP/1.1\r\nHost: {hostname}\r\nUser-Agent: subclaw-preview\r\nAccept: text/html,*/*\r\n"
        "Connection: close\r\n\r\n"
    )
    answer = Answer()
    try:
        async with asyncio.timeout(TRIAL_S), guest.connect(port) as stream:
            await stream.send(request.encode())
            while answer.status is None and (piece := await stream.receive()) is not None:
                answer.feed(piece)
    except TimeoutError:
        return None
    return answer.status
