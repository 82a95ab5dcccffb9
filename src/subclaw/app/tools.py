"""The built-in tools of an agent."""

import functools

from subclaw.app.addresses import public_url
from subclaw.app.surroundings import Surroundings
from subclaw.app.websites import Websites
from subclaw.channels.registry import goes_out
from subclaw.core.completion import Completions
from subclaw.core.outgoing import TakesFiles
from subclaw.egress.keys import read_public_key
from subclaw.egress.starter import starter_rules_of
from subclaw.harness.defaults import default_files
from subclaw.harness.files import HouseFiles
from subclaw.routes.domains import domain_action
from subclaw.store.access import StoreAccess
from subclaw.store.house import read_house
from subclaw.store.notifications import StoreNotifications
from subclaw.store.schedules import StoreSchedules
from subclaw.store.sites import StoreSiteHistory
from subclaw.tools.access import access_tools
from subclaw.tools.harness import Reload, harness_tools
from subclaw.tools.llm import llm_tools
from subclaw.tools.machine import machine_tools
from subclaw.tools.notify import notify_tools
from subclaw.tools.schedule import schedule_tools
from subclaw.tools.site import SiteAction, site_tools
from subclaw.tools.site_history import history_actions
from subclaw.tools.toolbox import BuiltInToolbox, Tool
from subclaw.tools.undo import undo_tools
from subclaw.turns.accounts import AccountLinks
from subclaw.turns.approvals import utc_now
from subclaw.visitors.actions import visitor_actions


def built_in_toolbox(
    around: Surroundings, websites: Websites, outgoing: TakesFiles, completions: Completions, reload: Reload
) -> BuiltInToolbox:
    """Return the toolbox that every agent has; `reload` reads the house of a tool's caller anew."""
    database, machines, agent = around.database, around.machines, around.agent
    files = HouseFiles(machines, functools.partial(read_house, database), default_files())
    return BuiltInToolbox(
        [
            *machine_tools(machines, files, around.placeholders),
            *undo_tools(machines),
            *site_tools(machines, websites.publisher, _site_actions(around, websites)),
            *notify_tools(StoreNotifications(database, goes_out), outgoing, agent.quiet_hours),
            *schedule_tools(StoreSchedules(database), utc_now),
            *_access_tools(around, websites),
            *llm_tools(completions),
            *harness_tools(reload),
        ]
    )


def _site_actions(around: Surroundings, websites: Websites) -> tuple[SiteAction, ...]:
    url = public_url(around.settings, around.port).rstrip("/")
    return (
        *history_actions(StoreSiteHistory(around.database)),
        domain_action(websites.domains),
        *visitor_actions(around.database, websites.url_of_tenant, url),
    )


def _access_tools(around: Surroundings, websites: Websites) -> tuple[Tool, ...]:
    links = AccountLinks(
        database=around.database,
        public_key=read_public_key(around.home.keys),
        site_url=websites.address.url_of,
    )
    return access_tools(
        StoreAccess(around.database, around.operator, starter=starter_rules_of(around.agent)),
        access=around.agent.access,
        public_url=public_url(around.settings, around.port),
        start_account=links.start,
    )
