"""Where channels of this box, and the HTTP API, hand in messages."""

import random
from collections.abc import Awaitable, Callable

from subclaw.app.addresses import public_url, site_address
from subclaw.channels.registry import goes_out
from subclaw.config import Settings
from subclaw.core.agent import AgentSettings
from subclaw.store.database import Database
from subclaw.turns.intake import StoreIntake
from subclaw.turns.reception import Reception


def sessions_intake(
    settings: Settings,
    port: int,
    database: Database,
    agent: AgentSettings,
    flushed: Callable[[], Awaitable[None]],
) -> StoreIntake:
    """Return the intake of customers' sessions: nobody is received there, since the agent's owner knows who writes."""
    url = public_url(settings, port)
    return StoreIntake(database, sends=goes_out, public_url=url, limits=agent.limits, flushed=flushed)


def make_intake(
    settings: Settings,
    port: int,
    database: Database,
    agent: AgentSettings,
    flushed: Callable[[], Awaitable[None]] | None = None,
) -> StoreIntake:
    """Return the intake, with the operator's reception before it; `flushed` is as in `StoreIntake`."""
    reception = Reception(
        database=database,
        settings=agent.onboarding,
        url_of=site_address(settings, port).url_of,
        sends=goes_out,
        chooser=random.SystemRandom(),
    )
    return StoreIntake(
        database,
        sends=goes_out,
        public_url=public_url(settings, port),
        limits=agent.limits,
        reception=reception,
        flushed=flushed,
    )
