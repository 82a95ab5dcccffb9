"""The worker: turns, the outbox, reminders, and the router's routes."""

import asyncio
import functools
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from subclaw.agent_file import read_agent
from subclaw.api.completions import serve_completions
from subclaw.api.webhooks import deliver_webhooks
from subclaw.app.addresses import database_address, public_url, site_address
from subclaw.app.agent_tools import agent_tools
from subclaw.app.business import customer_tailor
from subclaw.app.channels import outside
from subclaw.app.intake import make_intake
from subclaw.app.tools import built_in_toolbox
from subclaw.business.tools import keep_pruned
from subclaw.channels.listening import keep_listening
from subclaw.channels.registry import READ_IN_PLACE, count_segments, goes_out, limit_characters, open_channels
from subclaw.config import Settings
from subclaw.core.approval import needs_approval
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller
from subclaw.egress.control.client import gateway_client
from subclaw.egress.keys import read_public_key
from subclaw.egress.process import room_for_connections
from subclaw.egress.starter import starter_rules_of
from subclaw.harness.defaults import default_files
from subclaw.home import Home
from subclaw.machines.host_client import HostClient
from subclaw.models.by_name import ModelsByName
from subclaw.routes.domains import SiteDomains, keep_domains
from subclaw.routes.folders import FolderRoutes
from subclaw.routes.hostname import site_hostname, site_url
from subclaw.routes.newcomers import keep_newcomers
from subclaw.routes.publisher import SitePublisher, keep_routes
from subclaw.routes.records import DnsRecords
from subclaw.routes.releases import Releases
from subclaw.schedules.reminders import keep_time
from subclaw.store.access import StoreAccess
from subclaw.store.database import Role, open_database
from subclaw.store.domains import StoreDomains
from subclaw.store.secrets import placeholders
from subclaw.store.sites import StoreSites
from subclaw.store.tenant_settings import model_name
from subclaw.store.tool_audit import prune_tool_decisions
from subclaw.tools.harness import Reloaded
from subclaw.tools.machine import SHELL_EXEC
from subclaw.turns.accounts import AccountLinks
from subclaw.turns.approvals import keep_deadlines, require_known
from subclaw.turns.attachments import Attachments
from subclaw.turns.completions import AskedModels, MeteredCompletions, keep_lapsing
from subclaw.turns.customers import by_tenant
from subclaw.turns.live import LiveWords
from subclaw.turns.outbox import deliver
from subclaw.turns.outgoing import OutgoingFiles
from subclaw.turns.run import Turns
from subclaw.turns.tailor import Tailor
from subclaw.turns.turn_machines import keep_clearing
from subclaw.turns.typing import Typist
from subclaw.turns.worker import work

TURNS_AT_ONCE = 2_048
"""Most turns of a worker that are under way; nearly all of them wait for a model."""


async def run_worker(settings: Settings, port: int) -> None:
    """Run turns, send replies, keep time and the router's routes, until cancelled."""
    room_for_connections(TURNS_AT_ONCE)
    home, address = Home(settings.home), database_address(settings)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(address, Role.APP))
        operator = await stack.enter_async_context(open_database(address, Role.OPERATOR, size=1))
        words = await stack.enter_async_context(open_database(address, Role.APP, size=1, flushes=False))
        machines = await stack.enter_async_context(HostClient(home.host_socket))
        gateway = await stack.enter_async_context(gateway_client(home.egress_socket, connections=TURNS_AT_ONCE))
        sites = site_address(settings, port)
        publisher = SitePublisher(
            releases=Releases(home.releases),
            routes=FolderRoutes(home.sites, doors=home.doors),
            sites=StoreSites(database, operator),
            doors=machines,
            address=sites,
        )

        records = DnsRecords(settings.name_servers)
        stack.push_async_callback(records.close)
        domains = SiteDomains(
            store=StoreDomains(database),
            records=records,
            publisher=publisher,
            domain=settings.domain,
            sites_domain=settings.sites_domain,
        )

        def url_of(tenant_name: str) -> str:
            return site_url(site_hostname(tenant_name, sites.domain), port=sites.port, scheme=sites.scheme)

        async def site_url_of(tenant_id: TenantId) -> str:
            return url_of(await publisher.name_of(tenant_id))

        async def reload(caller: Caller) -> Reloaded:
            return await tailor.reload(caller)

        async def models_of(tenant_id: TenantId) -> AskedModels:
            opened = models.model_of(await model_name(operator, tenant_id))
            return AskedModels(usual=opened.model, cheaper=opened.cheaper, tariff=opened.tariff)

        agent = read_agent(home.agent_file)
        models = ModelsByName(settings.model, agent, gateway, settings.upstreams)
        placeholders_of = functools.partial(placeholders, database)
        completions = MeteredCompletions(database=database, models_of=models_of, agent=agent)
        intake = make_intake(settings, port, database, agent)
        ways = outside(settings, port, intake, database, address)
        channels = await stack.enter_async_context(open_channels(settings.channels, ways))
        has_links = ways.public_url is not None
        outgoing = OutgoingFiles(database=database, files=machines, channels=channels, has_links=has_links)
        toolbox = built_in_toolbox(
            database=database,
            machines=machines,
            placeholders=placeholders_of,
            publisher=publisher,
            requests=StoreAccess(database, operator, starter=starter_rules_of(agent)),
            access=agent.access,
            public_url=public_url(settings, port),
            site_url=site_url_of,
            domains=domains,
            start_account=AccountLinks(database=database, public_key=read_public_key(home.keys), site_url=url_of).start,
            completions=completions,
            reload=reload,
            outgoing=outgoing,
            clock=utc_now,
            quiet=agent.quiet_hours,
        )
        require_known(agent.approve, toolbox.definitions())
        tailor = Tailor(
            database=database,
            machines=machines,
            placeholders=placeholders_of,
            toolbox=toolbox,
            defaults=default_files(),
            model_of=models.model_of,
            url_of=url_of,
            clock=utc_now,
            approve_commands=needs_approval(agent.approve, SHELL_EXEC),
        )
        tools = await stack.enter_async_context(
            agent_tools(
                database=database,
                gateway=gateway,
                placeholders=placeholders_of,
                hidden=[home.path],
                clock=utc_now,
            )
        )
        customers = customer_tailor(
            database=database,
            machines=machines,
            placeholders=placeholders_of,
            model_of=models.model_of,
            clock=utc_now,
            tools_of=tools.tools_of,
        )
        typist, live = Typist(channels), LiveWords(words)
        turns = Turns(
            database=database,
            model=models.model_of("").model,
            toolbox=toolbox,
            instructions=lambda _: "",  # this, the toolbox and the model are what the tailor replaces
            agent=agent,
            sends=goes_out,
            files=machines,
            limit_characters=limit_characters,
            typist=typist,
            live=live,
            attachments=Attachments(database=database, channels=channels, files=machines),
            outgoing=outgoing,
            tailor=by_tenant(tailor, customers),
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(work(turns, address, limit=TURNS_AT_ONCE))
            count, quiet = count_segments(channels), agent.quiet_hours
            group.create_task(
                deliver(database, address, channels, count=count, quiet=quiet, public_url=ways.public_url)
            )
            group.create_task(typist.run())
            group.create_task(live.run())
            group.create_task(keep_listening(settings.channels, ways, address))
            group.create_task(keep_time(database, address, read_in_place=READ_IN_PLACE))
            group.create_task(keep_deadlines(database, read_in_place=READ_IN_PLACE))
            group.create_task(keep_routes(publisher))
            group.create_task(keep_domains(domains, read_in_place=READ_IN_PLACE))
            ahead = machines if agent.onboarding.prepare_machine else None
            group.create_task(keep_newcomers(database, address, machines=ahead, move=publisher.move))
            group.create_task(serve_completions(home.completions_socket, completions))
            group.create_task(keep_lapsing(database))
            group.create_task(keep_clearing(database, machines))
            group.create_task(keep_pruned(functools.partial(prune_tool_decisions, database)))
            group.create_task(deliver_webhooks(database, address, gateway))


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)
