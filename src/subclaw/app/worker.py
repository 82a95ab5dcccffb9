"""The worker: turns, the outbox, reminders, and the router's routes."""

import asyncio
import functools
from collections.abc import Coroutine, Sequence
from typing import Any

from subclaw.api.completions import serve_completions
from subclaw.api.webhooks import deliver_webhooks
from subclaw.app.agent_tools import agent_tools
from subclaw.app.messaging import Messaging, open_messaging
from subclaw.app.surroundings import Surroundings, find_surroundings
from subclaw.app.turns import make_completions, make_turns
from subclaw.app.websites import Websites, open_websites
from subclaw.business.tools import keep_pruned
from subclaw.channels.listening import keep_listening
from subclaw.channels.registry import READ_IN_PLACE, count_segments
from subclaw.config import Settings
from subclaw.egress.process import room_for_connections
from subclaw.models.by_name import ModelsByName
from subclaw.models.providers import audit_client
from subclaw.routes.domains import keep_domains
from subclaw.routes.following import follow_routes
from subclaw.routes.newcomers import keep_newcomers
from subclaw.schedules.reminders import keep_time
from subclaw.store.database import Role, open_database
from subclaw.store.notify import Ears, Topic, open_ears
from subclaw.store.tool_audit import prune_tool_decisions
from subclaw.turns.approvals import keep_deadlines, utc_now
from subclaw.turns.completions import MeteredCompletions, keep_lapsing
from subclaw.turns.live import LiveWords
from subclaw.turns.outbox import deliver
from subclaw.turns.run import Turns
from subclaw.turns.turn_machines import keep_clearing
from subclaw.turns.worker import work

TURNS_AT_ONCE = 2_048
"""Most turns of a worker that are under way; nearly all of them wait for a model."""

HEARD = (
    Topic.WAKE,
    Topic.INBOX,
    Topic.LISTENERS,
    Topic.OUTBOX,
    Topic.SCHEDULE,
    Topic.ONBOARDING,
    Topic.WEBHOOK,
    Topic.SITES,
)
"""What a worker's duties hear of, by one session."""

Duty = Coroutine[Any, Any, None]
"""Something that a worker does until it is cancelled."""


async def run_worker(settings: Settings, port: int) -> None:
    """Run turns, send replies, keep time and the router's routes, until cancelled."""
    room_for_connections(TURNS_AT_ONCE)
    async with (
        find_surroundings(settings, port, calls_at_once=TURNS_AT_ONCE) as around,
        open_websites(around) as websites,
        open_messaging(around) as messaging,
        agent_tools(
            database=around.database,
            gateway=around.gateway,
            placeholders=around.placeholders,
            hidden=[around.home.path],
            clock=utc_now,
        ) as tools,
        audit_client(around.home.audit_socket) as audit,
        open_ears(around.address, *HEARD) as ears,
        open_database(around.address, Role.APP, size=1, flushes=False) as words,
    ):
        models = ModelsByName(settings.model, around.agent, around.gateway, settings.upstreams, audit=audit)
        completions = make_completions(around, models)
        live = LiveWords(words)
        turns = make_turns(around, websites, messaging, models, completions, tools, live)
        async with asyncio.TaskGroup() as group:
            for duty in _duties(around, websites, messaging, turns, completions, live, ears):
                group.create_task(duty)


def _duties(
    around: Surroundings,
    websites: Websites,
    messaging: Messaging,
    turns: Turns,
    completions: MeteredCompletions,
    live: LiveWords,
    ears: Ears,
) -> Sequence[Duty]:
    """Return all that a worker does, at the same time. If one of them ends by an error, the worker does."""
    database, address, agent = around.database, around.address, around.agent
    return (
        work(turns, address, limit=TURNS_AT_ONCE, ears=ears),
        messaging.typist.run(),
        live.run(),
        deliver(
            database,
            address,
            messaging.channels,
            count=count_segments(messaging.channels),
            quiet=agent.quiet_hours,
            public_url=messaging.ways.public_url,
            ears=ears,
        ),
        keep_listening(around.settings.channels, messaging.ways, address),
        keep_time(database, address, read_in_place=READ_IN_PLACE, ears=ears),
        keep_deadlines(database, read_in_place=READ_IN_PLACE),
        follow_routes(websites.publisher, address, ears=ears),
        keep_domains(websites.domains, read_in_place=READ_IN_PLACE),
        keep_newcomers(
            database,
            address,
            machines=around.machines if agent.onboarding.prepare_machine else None,
            move=websites.publisher.move,
            ears=ears,
        ),
        serve_completions(around.home.completions_socket, completions),
        keep_lapsing(database),
        keep_clearing(database, around.machines),
        keep_pruned(functools.partial(prune_tool_decisions, database)),
        deliver_webhooks(database, address, around.gateway, ears=ears),
    )
