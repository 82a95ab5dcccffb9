"""Patience: whether a request is sent to its model again, and when. Nothing else sends one twice.

The providers' libraries are told not to (`max_retries=0`), and the gateway repeats no POST; the retries of its client
are for connecting to the gateway itself, before a request is sent.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from subclaw.core.model import ModelReply
from subclaw.models.faults import Again, Fault, fault_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Patience:
    """The limits of one call: of its attempts, of an attempt's time, of the time of all of it with the waits.

    The first wait is `soon_s`, or `later_s` if a limit of the provider's was met, and each further one twice as long. A
    provider that asks for more than `wait_limit_s` is not waited for.
    """

    attempts: int = 4
    attempt_s: float = 120.0
    call_s: float = 300.0
    soon_s: float = 0.5
    later_s: float = 2.0
    wait_limit_s: float = 30.0


def pause_s(patience: Patience, fault: Fault, attempts: int, chance: float) -> float | None:
    """Return how long to wait before the next attempt; None if there is to be none.

    `attempts` were made. `chance`, of [0, 1), spreads those who failed together: it takes up to half of a wait away,
    and never from what the provider asked for.
    """
    if fault.again is Again.NEVER or attempts >= patience.attempts:
        return None
    first_s = patience.later_s if fault.again is Again.LATER else patience.soon_s
    own_s = min(first_s * 2.0 ** (attempts - 1), patience.wait_limit_s) * (1 - chance / 2)
    if fault.wait_s is None:
        return own_s
    return fault.wait_s + own_s * chance if fault.wait_s <= patience.wait_limit_s else None


async def persist(attempt: Callable[[], Awaitable[ModelReply]], patience: Patience, *, label: str) -> ModelReply:
    """Make attempts until one succeeds or no other may help; the caller bounds the time of all of them.

    Errors: those of `core.model.Model.ask`.
    """
    attempts = 0
    while True:
        attempts += 1
        try:
            async with asyncio.timeout(patience.attempt_s):
                return await attempt()
        except Exception as error:
            fault = fault_of(error)
            wait_s = pause_s(patience, fault, attempts, random.random())
            if wait_s is None:
                log.warning("%s: attempt %d: %s", label, attempts, fault.error.internal)
                raise fault.error from error
            log.info("%s: attempt %d: %s: again in %.1f s", label, attempts, fault.error.internal, wait_s)
        await asyncio.sleep(wait_s)
