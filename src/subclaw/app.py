"""The wiring: each process's parts put together. Nothing is decided here."""

import asyncio
import functools
import grp
import pwd
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime

import uvicorn
from fastapi import FastAPI

from subclaw.accounts import CADDY_USER, CONTROL_USER, EGRESS_USER
from subclaw.agent_file import read_agent
from subclaw.api.app import make_app
from subclaw.channels.sms import STATUS_PATH, sms_router
from subclaw.channels.sms_channel import SmsChannel
from subclaw.channels.sms_segments import count_segments
from subclaw.channels.twilio_client import twilio_client
from subclaw.channels.web import web_router
from subclaw.config import KEY_VARIABLES, Settings
from subclaw.console.keyfile import read_key_hash
from subclaw.console.router import ConsoleSettings, console_router
from subclaw.core.agent import AgentEgress, AgentSettings
from subclaw.core.budget import Tariff
from subclaw.core.channel import Channel
from subclaw.core.policy import Rule
from subclaw.core.secret import PLACEHOLDER, SealedSecret
from subclaw.core.turn import Conversation
from subclaw.egress.control.client import BASE_URL, gateway_client, verify
from subclaw.egress.control.connect_client import connect_account
from subclaw.egress.gateway import EgressSettings, ForControl, ForMachines, serve_egress
from subclaw.egress.keys import read_public_key
from subclaw.egress.process import room_for_connections
from subclaw.egress.seal import seal
from subclaw.egress.starter import starter_rules
from subclaw.handover.accounts import accounts_router
from subclaw.handover.router import HandoverSettings, handover_router
from subclaw.harness.system import system_text
from subclaw.home import Home
from subclaw.host_name import host_name
from subclaw.machines.host import HostSettings, serve_host
from subclaw.machines.host_client import HostClient
from subclaw.machines.images.image import current_image
from subclaw.machines.workshop import FleetSettings
from subclaw.models.prices import Prices
from subclaw.models.providers import open_models
from subclaw.routes.caddy import CaddyRoutes, keep_routes
from subclaw.routes.config import CaddySettings
from subclaw.routes.hostname import site_hostname, site_url
from subclaw.routes.publisher import SiteAddress, SitePublisher
from subclaw.routes.releases import Releases
from subclaw.schedules.reminders import keep_time
from subclaw.sockets import bind_unix
from subclaw.store.access import StoreAccess
from subclaw.store.account_book import StoreAccountBook
from subclaw.store.cluster import private_address
from subclaw.store.database import DatabaseAddress, Role, open_database
from subclaw.store.egress_book import StoreEgressBook
from subclaw.store.egress_rules import replace_agent_rules
from subclaw.store.feed import StoreFeed
from subclaw.store.machines import StoreMachineLedger
from subclaw.store.outbox import StoreReports
from subclaw.store.schedules import StoreSchedules
from subclaw.store.secrets import load_secrets, placeholders, save_secret
from subclaw.store.sites import StoreSites
from subclaw.tools.access import access_tools
from subclaw.tools.machine import machine_tools
from subclaw.tools.schedule import schedule_tools
from subclaw.tools.site import site_tools
from subclaw.tools.toolbox import BuiltInToolbox
from subclaw.tools.undo import undo_tools
from subclaw.turns.accounts import AccountLinks
from subclaw.turns.approvals import keep_deadlines, require_known
from subclaw.turns.intake import StoreIntake
from subclaw.turns.outbox import deliver
from subclaw.turns.run import Turns
from subclaw.turns.worker import work

TURNS_AT_ONCE = 2_048
"""Most turns of a worker that are under way; nearly all of them wait for a model."""

CONSOLE_POOL_SIZE = 2
HOST_POOL_SIZE = 2
EGRESS_POOL_SIZE = 2
HOST_USER_ID = 0
"""The machine host runs as root."""
READ_IN_PLACE = frozenset({"web"})
"""Channels whose replies are read from the transcript; those of others go out by the outbox."""
TITLE = "subclaw"


def database_address(settings: Settings) -> DatabaseAddress:
    """Return where the database is: the operator's, or the private cluster's."""
    if settings.database_url:
        return DatabaseAddress(url=settings.database_url, private=False)
    return private_address(Home(settings.home).database_socket_folder)


def public_url(settings: Settings, port: int) -> str:
    """Return the address of the control plane as the outside knows it."""
    return settings.public_url or f"http://{settings.domain}:{port}"


def local_url(settings: Settings, port: int) -> str:
    """Return where the router is reached from this host itself."""
    return f"http://[{settings.listen}]:{port}" if ":" in settings.listen else f"http://{settings.listen}:{port}"


def caddy_settings(settings: Settings, port: int) -> CaddySettings:
    """Return what the router is told at its start."""
    home = Home(settings.home)
    return CaddySettings(
        domain=settings.domain,
        port=port,
        listen=(settings.listen,),
        control_socket=home.web_socket,
        admin_socket=home.caddy_socket,
        state=home.caddy,
    )


def site_address(settings: Settings, port: int) -> SiteAddress:
    """Return where tenants' sites are."""
    return SiteAddress(domain=settings.domain, port=port)


async def seal_keys(settings: Settings, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Seal the keys in the environment to the gateway and store them; return the variables' names."""
    public_key = read_public_key(Home(settings.home).keys)
    present = [name for name in KEY_VARIABLES if environ.get(name)]
    async with open_database(database_address(settings), Role.OPERATOR, size=1) as operator:
        for name in present:
            secret = KEY_VARIABLES[name]
            sealed = seal(public_key, environ[name], secret)
            await save_secret(operator, SealedSecret(name=secret, sealed=sealed))
    return tuple(present)


async def keep_agent_rules(settings: Settings, egress: AgentEgress) -> None:
    """Store what the agent's file says of the way out, for the gateway to go by."""
    async with open_database(database_address(settings), Role.OPERATOR, size=1) as operator:
        await replace_agent_rules(operator, egress.rules, starter=egress.starter)


async def run_web(settings: Settings, port: int) -> None:
    """Serve the channels' doors, the web chat and the operator's console, until cancelled."""
    home, address = Home(settings.home), database_address(settings)
    async with (
        open_database(address, Role.APP) as database,
        open_database(address, Role.OPERATOR, size=CONSOLE_POOL_SIZE) as operator,
        HostClient(home.host_socket) as machines,
        gateway_client(home.egress_socket) as gateway,
    ):
        feed = StoreFeed(database, address)
        url, agent = public_url(settings, port), read_agent(home.agent_file)
        intake = StoreIntake(database, sends=_goes_out, public_url=url)
        routers = [
            web_router(intake=intake, feed=feed, title=TITLE, public_url=url),
            console_router(_console_settings(settings, url), operator, machines),
            handover_router(
                HandoverSettings(title=TITLE, public_key=read_public_key(home.keys), access=agent.access),
                database,
                StoreAccess(database, operator, starter=_starter(agent)),
            ),
        ]
        routers.append(accounts_router(TITLE, database, functools.partial(connect_account, gateway)))
        if settings.twilio:

            async def check(url: str, params: Mapping[str, str], signature: str) -> bool:
                return await verify(gateway, "twilio", {"url": url, "params": dict(params), "signature": signature})

            reports = StoreReports(database)
            routers.append(sms_router(intake=intake, reports=reports, check_signature=check, public_url=url))
        app = make_app(routers, check=functools.partial(database.rows, "SELECT 1"))
        server = _Server(app, on_shutdown=feed.end)
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(feed.run())
            await server.serve(sockets=[bind_unix(home.web_socket)])
            listening.cancel()


def _console_settings(settings: Settings, url: str) -> ConsoleSettings:
    home = Home(settings.home)
    return ConsoleSettings(
        key_hash=read_key_hash(home.console_key_hash),
        public_url=url,
        title=TITLE,
        model=str(settings.model),
        channels=("web chat", *([f"SMS {settings.twilio.number}"] if settings.twilio else [])),
        parts={
            "Machine host": home.host_socket,
            "Egress gateway": home.egress_socket,
            "Router": home.caddy_socket,
        },
    )


class _Server(uvicorn.Server):
    """uvicorn, which ends streams before it waits for them."""

    def __init__(self, app: FastAPI, *, on_shutdown: Callable[[], None]) -> None:
        super().__init__(uvicorn.Config(app, log_config=None, lifespan="off", access_log=False, server_header=False))
        self._on_shutdown = on_shutdown

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_shutdown()
        await super().shutdown(sockets)


async def run_worker(settings: Settings, port: int) -> None:
    """Run turns, send replies, keep time and the router's routes, until cancelled."""
    room_for_connections(TURNS_AT_ONCE)
    home, address = Home(settings.home), database_address(settings)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(address, Role.APP))
        operator = await stack.enter_async_context(open_database(address, Role.OPERATOR, size=1))
        machines = await stack.enter_async_context(HostClient(home.host_socket))
        gateway = await stack.enter_async_context(gateway_client(home.egress_socket, connections=TURNS_AT_ONCE))
        routes = CaddyRoutes(caddy_settings(settings, port))
        sites = site_address(settings, port)
        publisher = SitePublisher(
            releases=Releases(home.releases),
            routes=routes,
            sites=StoreSites(database, operator),
            doors=machines,
            address=sites,
        )

        def url_of(tenant_name: str) -> str:
            return site_url(site_hostname(tenant_name, sites.domain), port=sites.port)

        def instructions(conversation: Conversation) -> str:
            name = conversation.tenant_name
            return system_text(name=name, url=url_of(name), today=utc_now().date())

        agent = read_agent(home.agent_file)
        access = StoreAccess(database, operator, starter=_starter(agent))
        links = AccountLinks(database=database, public_key=read_public_key(home.keys), site_url=url_of)
        toolbox = BuiltInToolbox(
            [
                *machine_tools(machines, functools.partial(placeholders, database)),
                *access_tools(
                    access, access=agent.access, public_url=public_url(settings, port), start_account=links.start
                ),
                *undo_tools(machines),
                *site_tools(machines, publisher),
                *schedule_tools(StoreSchedules(database), utc_now),
            ]
        )
        prices = Prices(own=agent.prices, windows=agent.windows)
        models = open_models(settings.model, agent, gateway, settings.upstreams)
        require_known(agent.approve, toolbox.definitions())
        turns = Turns(
            database=database,
            model=models.chosen,
            cheaper=models.cheaper,
            tariff=Tariff(price=prices.price_of, model=str(settings.model), cheaper=agent.cheaper),
            toolbox=toolbox,
            instructions=instructions,
            agent=agent,
            sends=_goes_out,
            files=machines,
            window_tokens=models.window_tokens,
        )
        channels = await stack.enter_async_context(_channels(settings, home, port))
        async with asyncio.TaskGroup() as group:
            group.create_task(work(turns, address, limit=TURNS_AT_ONCE))
            group.create_task(deliver(database, address, channels, count=_segments))
            group.create_task(keep_time(database, address, read_in_place=READ_IN_PLACE))
            group.create_task(keep_deadlines(database, read_in_place=READ_IN_PLACE))
            group.create_task(keep_routes(routes, publisher.restore_routes))


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def _starter(agent: AgentSettings) -> Sequence[Rule]:
    """Return the rules that subclaw comes with, unless the agent's file does without them."""
    return starter_rules() if agent.egress.starter else ()


def _goes_out(channel: str) -> bool:
    """Say whether a channel's replies go out by the outbox."""
    return channel not in READ_IN_PLACE


def _segments(channel: str, parts: Sequence[str]) -> int:
    """Return how many segments a reply has: text messages are charged by those."""
    return sum(map(count_segments, parts)) if channel == SmsChannel.name else 0


@asynccontextmanager
async def _channels(settings: Settings, home: Home, port: int) -> AsyncIterator[Mapping[str, Channel]]:
    """Open the channels whose replies go out by a provider."""
    if settings.twilio is None:
        yield {}
        return
    async with twilio_client(
        account_sid=settings.twilio.account_sid,
        auth_token=PLACEHOLDER,
        base_url=f"{BASE_URL}/twilio",
        socket=home.egress_socket,
    ) as client:
        status_url = _status_url(settings, port)
        yield {"sms": SmsChannel(client=client, from_number=settings.twilio.number, status_url=status_url)}


def _status_url(settings: Settings, port: int) -> str | None:
    """Return where Twilio is to send receipts; None if it cannot reach this host by name, and so would refuse to."""
    if not settings.public_url and settings.domain.rpartition(".")[2] == "localhost":
        return None
    return public_url(settings, port).rstrip("/") + STATUS_PATH


async def run_egress(settings: Settings, number: int) -> None:
    """Run one of the egress gateway's processes, until cancelled. The first of them serves the control plane too."""
    home, address = Home(settings.home), database_address(settings)
    async with open_database(address, Role.EGRESS, size=EGRESS_POOL_SIZE) as database:
        control = ForControl(
            socket_path=home.egress_socket,
            socket_gid=group_id(CONTROL_USER),
            upstreams=settings.upstreams,
            load_secrets=functools.partial(load_secrets, database),
            signing_secrets={"twilio": "twilio.token"},
        )
        machines = ForMachines(
            socket_path=home.egress_machine_sockets(settings.egress_processes)[number],
            socket_gid=group_id(EGRESS_USER),
            host_user=HOST_USER_ID,
            book=StoreEgressBook(database, address),
            starter=starter_rules(),
            name_servers=settings.name_servers,
        )
        await serve_egress(
            EgressSettings(
                key_folder=home.keys,
                control=None if number else control,
                machines=machines,
                accounts=StoreAccountBook(database),
                authorities=settings.authorities,
            )
        )


async def run_host(settings: Settings) -> None:
    """Run the machines of this box, until cancelled."""
    home = Home(settings.home)
    async with open_database(database_address(settings), Role.HOST, size=HOST_POOL_SIZE) as database:
        await serve_host(
            HostSettings(
                fleet=FleetSettings(
                    home=home.path,
                    cache=settings.cache,
                    image=current_image(settings.cache),
                    ledger=StoreMachineLedger(database, host_name(home)),
                    forward_folder=home.doors,
                    forward_group_id=group_id(CADDY_USER),
                    pool_size=settings.pool_size,
                    egress_sockets=home.egress_machine_sockets(settings.egress_processes),
                ),
                socket=home.host_socket,
                socket_group_id=group_id(CONTROL_USER),
            )
        )


def user_id(name: str) -> int:
    """Return a system user's number."""
    return pwd.getpwnam(name).pw_uid


def group_id(name: str) -> int:
    """Return a system group's number."""
    return grp.getgrnam(name).gr_gid
