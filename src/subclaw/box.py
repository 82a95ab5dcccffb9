"""One box: all that `subclaw up` runs, in the order in which each needs the one before."""

import asyncio
import functools
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from subclaw.accounts import CADDY_USER, CONTROL_USER, DATABASE_USER, EGRESS_USER, group_id, user_id
from subclaw.agent_file import read_agent
from subclaw.app.addresses import caddy_settings, database_address, inner_address, public_url
from subclaw.app.before import keep_agent_rules, seal_keys
from subclaw.config import DEFAULT_PORT, Settings, process_environment
from subclaw.console.gate import console_link
from subclaw.console.keyfile import fresh_key
from subclaw.core.errors import Denied
from subclaw.egress.control.authorities import keep_authorities
from subclaw.egress.control.destination import destination
from subclaw.egress.keys import ensure_key
from subclaw.home import Home, held, prepare_home
from subclaw.machines.images.image import current_image
from subclaw.models.choice import usable_providers
from subclaw.ports import reserved_port
from subclaw.routes.process import caddy_command, check_port, wait_ready, write_caddy_files
from subclaw.store.cluster import cluster_command, make_cluster
from subclaw.store.database import Role, open_database
from subclaw.store.notify import workers_alive
from subclaw.store.provision import provision
from subclaw.supervisor import Process, as_user, python_process, ready_at_once, running, socket_ready

FIRST_FREE_PORT = 1024
"""Ports below it need a right that only root has, and that the router is given."""
DATABASE_START_S = 60.0
START_S = 30.0
READY_POLL_S = 0.05
WORKER_NICENESS = 5
DOOR_NICENESS = -10
"""Turns step back for what acknowledges messages and serves pages: providers and people give up on those first."""

START_LIMITS_S = {"host": 150.0, "worker": 120.0}
"""The first start on a host boots a machine with each accelerator to see which works. A worker loads the libraries of
all channels, six seconds of a processor's time, and does that after whatever else the host has to do."""

OnStep = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Box:
    """A box that serves. `url` is the address of the web chat, as people know it; `port` is the router's here.

    `console` is the link that signs in to the operator's console, a credential.
    """

    url: str
    console: str
    port: int
    keys: tuple[str, ...]


@asynccontextmanager
async def box_up(settings: Settings, environ: Mapping[str, str], on_step: OnStep) -> AsyncIterator[Box]:
    """Serve for the life of the block. `on_step` is told what is being started.

    Errors: `SubclawError` with one line that says what to do.
    """
    if os.geteuid() != 0:
        raise Denied("subclaw must be started as root: it runs each of its parts as a user of its own. Use sudo.")
    for upstream in settings.upstreams:
        destination(upstream)
    current_image(settings.cache)
    home = Home(settings.home)
    prepare_home(home)
    agent = read_agent(home.agent_file)
    async with AsyncExitStack() as stack:
        stack.enter_context(held(home))
        port = stack.enter_context(reserved_port(home, inner_address(settings), settings.port, DEFAULT_PORT))
        key = stack.enter_context(fresh_key(home.console_key, home.console_key_hash, group_id(CONTROL_USER)))
        _make_ready(settings, home, port)
        environment = process_environment(settings) | {"SUBCLAW_PORT": str(port)}
        on_step("the database")
        if settings.database_url is None:
            await stack.enter_async_context(running(_database(home, environment), home.logs))
        await provision(database_address(settings), timeout_s=DATABASE_START_S)
        keys = await seal_keys(settings, environ)
        await keep_agent_rules(settings, agent.egress)
        for process in _processes(settings, home, port, environment):
            on_step(process.name)
            await stack.enter_async_context(running(process, home.logs))
        url = public_url(settings, port)
        yield Box(url=url, console=console_link(url, key), port=port, keys=keys)


def _make_ready(settings: Settings, home: Home, port: int) -> None:
    """Make what the gateway and the router need before they start, and note for commands which models can be asked."""
    home.providers_file.write_text(" ".join(usable_providers(settings.upstreams)), encoding="utf-8")
    ensure_key(home.keys, user_id(EGRESS_USER), group_id(EGRESS_USER))
    for relay in settings.relays:
        if relay.authorities is not None:
            keep_authorities(relay.authorities, home.relay_authorities(relay.name))
    if settings.https is not None:
        check_port(caddy_settings(settings, port))
    write_caddy_files(caddy_settings(settings, port), user_id=user_id(CADDY_USER), group_id=group_id(CADDY_USER))


def _database(home: Home, environment: Mapping[str, str]) -> Process:
    roles = {
        CONTROL_USER: (Role.APP, Role.OPERATOR),
        EGRESS_USER: (Role.EGRESS,),
        "root": (Role.APP, Role.OPERATOR, Role.HOST),
    }
    make_cluster(home.database, as_user=as_user(DATABASE_USER), roles=roles, owner_user="root")
    return Process(
        name="postgres",
        command=cluster_command(home.database, home.database_socket_folder),
        environment=environment,
        ready=ready_at_once,
        user=DATABASE_USER,
        stop_signal=signal.SIGINT,
        stop_timeout_s=60,
    )


def _processes(settings: Settings, home: Home, port: int, environment: Mapping[str, str]) -> tuple[Process, ...]:
    # The address of an operator's database holds a password, and the router does not speak to it.
    apart = {name: value for name, value in environment.items() if name != "DATABASE_URL"}

    def python(
        name: str, user: str | None, ready: Callable[[], Awaitable[None]], number: int = 0, niceness: int = 0
    ) -> Process:
        return Process(
            name=f"{name}-{number + 1}" if number else name,
            command=python_process(name, number),
            environment=environment,
            ready=ready,
            user=user,
            ready_timeout_s=START_LIMITS_S.get(name, START_S),
            stop_timeout_s=60,
            niceness=niceness,
        )

    egress_sockets = (home.egress_socket, *home.egress_machine_sockets(settings.egress_processes)[1:])
    router = caddy_settings(settings, port)
    caddy = caddy_command(router)
    return (
        *(
            python("egress", EGRESS_USER, functools.partial(socket_ready, socket), number, DOOR_NICENESS)
            for number, socket in enumerate(egress_sockets)
        ),
        python("host", None, lambda: socket_ready(home.host_socket)),
        python("web", CONTROL_USER, lambda: socket_ready(home.web_socket), niceness=DOOR_NICENESS),
        Process(
            name="caddy",
            command=caddy.argv,
            environment={**apart, **caddy.environment},
            ready=lambda: wait_ready(router),
            user=CADDY_USER,
            niceness=DOOR_NICENESS,
            capabilities=("net_bind_service",) if min(_ports(settings, port)) < FIRST_FREE_PORT else (),
        ),
        python("worker", CONTROL_USER, lambda: _worker_ready(settings), niceness=WORKER_NICENESS),
    )


def _ports(settings: Settings, port: int) -> tuple[int, ...]:
    """Return the ports that the router listens on."""
    return (port,) if settings.https is None else (port, settings.https.port, settings.https.http_port)


async def _worker_ready(settings: Settings) -> None:
    """Return once a worker takes turns."""
    async with open_database(database_address(settings), Role.OPERATOR, size=1) as operator:
        while not await workers_alive(operator):  # noqa: ASYNC110  # another process's state
            await asyncio.sleep(READY_POLL_S)
