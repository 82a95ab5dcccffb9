"""The web process: the channels' doors, the web chat, the pages and the operator's console."""

import asyncio
import functools
import socket
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import uvicorn
from fastapi import APIRouter, FastAPI

from subclaw.agent_file import read_agent
from subclaw.api.app import make_app
from subclaw.api.v1.app import PATH as API_PATH
from subclaw.api.v1.app import make_api
from subclaw.api.widget import widget_router
from subclaw.app.addresses import database_address, inner_address, public_url, site_address
from subclaw.app.api import api_inside
from subclaw.app.channels import outside
from subclaw.app.intake import make_intake, sessions_intake
from subclaw.channels.examination import examine_channels
from subclaw.channels.kind import Inside
from subclaw.channels.listening import keep_serving
from subclaw.channels.registry import READ_IN_PLACE
from subclaw.config import Settings
from subclaw.console.keyfile import read_key_hash
from subclaw.console.router import ConsoleSettings, console_router
from subclaw.core.tenant import TenantId
from subclaw.egress.control.client import gateway_client, verify
from subclaw.egress.control.connect_client import connect_account
from subclaw.egress.keys import read_public_key
from subclaw.egress.starter import starter_rules_of
from subclaw.handover.accounts import accounts_router
from subclaw.handover.router import HandoverSettings, handover_router
from subclaw.home import Home
from subclaw.machines.host_client import HostClient
from subclaw.pages.files import files_router
from subclaw.routes.certificates import HOST_LIMIT, CertificateGate, Question, certificates_app
from subclaw.routes.preview import PREFIX
from subclaw.routes.process import local_address
from subclaw.routes.publisher import SiteAddress
from subclaw.routes.unpublished import unpublished_router
from subclaw.sockets import bind_unix
from subclaw.store.access import StoreAccess
from subclaw.store.certificates import Verdict, allow_certificate
from subclaw.store.database import Database, Role, open_database
from subclaw.store.domains import tenant_of_domain
from subclaw.store.feed import StoreFeed
from subclaw.store.flush import Flush
from subclaw.store.live import LiveFeed
from subclaw.store.onboarding import named_tenant
from subclaw.store.outbox import StoreReports
from subclaw.store.outgoing import open_file
from subclaw.store.visitors import tenant_of_name
from subclaw.visitors.router import visitors_routers
from subclaw.visitors.views import ViewCounter, views_router
from subclaw.visitors.visitor import TenantAt, Visiting

OPERATOR_POOL_SIZE = 4
EXAMINATION_LIMIT_S = 8.0
"""A page waits for no provider longer than that."""
TITLE = "subclaw"


async def run_web(settings: Settings, port: int) -> None:
    """Serve the channels' doors, the web chat and the operator's console, until cancelled."""
    home, address = Home(settings.home), database_address(settings)
    async with (
        open_database(address, Role.APP) as database,
        open_database(address, Role.APP, flushes=False) as doors,
        open_database(address, Role.OPERATOR, size=OPERATOR_POOL_SIZE) as operator,
        HostClient(home.host_socket) as machines,
        gateway_client(home.egress_socket) as gateway,
    ):
        feed, live = StoreFeed(database, address), LiveFeed(doors, address)
        url, agent = public_url(settings, port), read_agent(home.agent_file)
        flushed = Flush(doors).wait
        inside = Inside(
            intake=make_intake(settings, port, doors, agent, flushed),
            feed=feed,
            reports=StoreReports(database),
            verify=functools.partial(verify, gateway),
            public_url=url.rstrip("/"),
            title=TITLE,
            front_file=home.front_file,
            channels=settings.channels,
            gateway_socket=home.egress_socket,
        )
        routers = [
            *(channel.routes(inside) for channel in settings.channels if channel.routes),
            console_router(_console_settings(settings, port, inside, database), operator, machines),
            handover_router(
                HandoverSettings(title=TITLE, public_key=read_public_key(home.keys), access=agent.access),
                database,
                StoreAccess(database, operator, starter=starter_rules_of(agent)),
            ),
        ]
        named = functools.partial(named_tenant, database)
        routers.append(unpublished_router(named, site_address(settings, port)))
        routers.append(accounts_router(TITLE, database, functools.partial(connect_account, gateway)))
        routers.append(files_router(functools.partial(open_file, database)))
        tenant_at, views = tenants_at(site_address(settings, port), database), ViewCounter(database)
        routers += _visitors(settings, port, database, tenant_at)
        routers.append(views_router(views, tenant_at))
        routers.append(widget_router())
        sessions = sessions_intake(settings, port, doors, agent, flushed)
        api = make_api(api_inside(settings, port, sessions, database, operator, feed, live, machines))
        app = make_app(routers, check=functools.partial(database.rows, "SELECT 1"), below={API_PATH: api})
        server = _Server(app, on_shutdown=feed.end)
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(feed.run())
            beside = [
                group.create_task(live.run()),
                group.create_task(keep_serving(settings.channels, inside)),
                group.create_task(_answer_certificates(settings, database)),
                group.create_task(views.run()),
            ]
            with bind_unix(home.web_socket) as listener:
                await server.serve(sockets=[listener])
            for one in (listening, *beside):
                one.cancel()


async def _answer_certificates(settings: Settings, database: Database) -> None:
    """Tell the router for which hostnames it may have certificates, if it has any."""
    if settings.https is None:
        return
    home = Home(settings.home)

    async def allow(question: Question) -> Verdict:
        return await allow_certificate(
            database,
            question.hostname,
            name=question.name,
            is_known=question.is_known,
            an_hour=HOST_LIMIT,
            new_an_hour=question.new_limit,
        )

    gate = CertificateGate(
        domain=settings.domain,
        sites_domain=settings.sites_domain,
        serves=lambda hostname: (home.sites / hostname).is_symlink(),
        allow=allow,
    )
    server = _QuietServer(certificates_app(gate), on_shutdown=lambda: None)
    await server.serve(sockets=[bind_unix(home.certificates_socket)])


def tenants_at(sites: SiteAddress, database: Database) -> TenantAt:
    """Return what says whose site a hostname is; a preview is of the site that it is one of."""

    async def tenant_at(hostname: str) -> TenantId | None:
        name, _, domain = hostname.partition(".")
        if domain == sites.domain:
            return await tenant_of_name(database, name.removeprefix(PREFIX))
        return await tenant_of_domain(database, hostname)

    return tenant_at


def _visitors(settings: Settings, port: int, database: Database, tenant_at: TenantAt) -> Sequence[APIRouter]:
    sites = site_address(settings, port)
    visiting = Visiting(database=database, tenant_at=tenant_at, title=TITLE)
    return visitors_routers(visiting, is_secure=sites.scheme == "https", read_in_place=READ_IN_PLACE)


def _console_settings(settings: Settings, port: int, inside: Inside, database: Database) -> ConsoleSettings:
    home, url = Home(settings.home), public_url(settings, port)
    ways = outside(settings, port, inside.intake, database, database_address(settings))
    return ConsoleSettings(
        key_hash=read_key_hash(home.console_key_hash),
        public_url=url,
        title=TITLE,
        model=str(settings.model),
        channels=tuple(f"{channel.kind.title} {channel.place}".strip() for channel in settings.channels),
        parts={
            "Machine host": home.host_socket,
            "Egress gateway": home.egress_socket,
            "Router": (local_address(inner_address(settings)), port),
        },
        examine=functools.partial(
            examine_channels, settings.channels, ways, inside.public_url, limit_s=EXAMINATION_LIMIT_S
        ),
    )


class _Server(uvicorn.Server):
    """uvicorn, which ends streams before it waits for them."""

    def __init__(self, app: FastAPI, *, on_shutdown: Callable[[], None]) -> None:
        super().__init__(uvicorn.Config(app, log_config=None, lifespan="off", access_log=False, server_header=False))
        self._on_shutdown = on_shutdown

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_shutdown()
        await super().shutdown(sockets)


class _QuietServer(_Server):
    """One that leaves the process's signals to the other server."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield
