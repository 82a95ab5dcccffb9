"""The built-in tools of an agent."""

import functools
from collections.abc import Callable
from datetime import datetime

from subclaw.channels.registry import goes_out
from subclaw.core.access import AccessRequests
from subclaw.core.agent import Access
from subclaw.core.completion import Completions
from subclaw.core.machine import Machines
from subclaw.core.outgoing import TakesFiles
from subclaw.core.quiet import QuietHours
from subclaw.core.route import Publisher
from subclaw.harness.defaults import default_files
from subclaw.harness.files import HouseFiles
from subclaw.routes.domains import SiteDomains, domain_action
from subclaw.store.database import Database
from subclaw.store.house import read_house
from subclaw.store.notifications import StoreNotifications
from subclaw.store.schedules import StoreSchedules
from subclaw.store.sites import StoreSiteHistory
from subclaw.tools.access import StartAccount, access_tools
from subclaw.tools.commands import Placeholders
from subclaw.tools.harness import Reload, harness_tools
from subclaw.tools.llm import llm_tools
from subclaw.tools.machine import machine_tools
from subclaw.tools.notify import notify_tools
from subclaw.tools.schedule import schedule_tools
from subclaw.tools.site import site_tools
from subclaw.tools.site_history import history_actions
from subclaw.tools.toolbox import BuiltInToolbox
from subclaw.tools.undo import undo_tools
from subclaw.visitors.actions import SiteUrl, visitor_actions


def built_in_toolbox(
    *,
    database: Database,
    machines: Machines,
    placeholders: Placeholders,
    publisher: Publisher,
    requests: AccessRequests,
    access: Access,
    public_url: str,
    site_url: SiteUrl,
    domains: SiteDomains,
    start_account: StartAccount,
    completions: Completions,
    reload: Reload,
    outgoing: TakesFiles,
    clock: Callable[[], datetime],
    quiet: QuietHours | None,
) -> BuiltInToolbox:
    """Return the toolbox that every agent has."""
    actions = (
        *history_actions(StoreSiteHistory(database)),
        domain_action(domains),
        *visitor_actions(database, site_url, public_url.rstrip("/")),
    )
    files = HouseFiles(machines, functools.partial(read_house, database), default_files())
    return BuiltInToolbox(
        [
            *machine_tools(machines, files, placeholders),
            *undo_tools(machines),
            *site_tools(machines, publisher, actions),
            *notify_tools(StoreNotifications(database, goes_out), outgoing, quiet),
            *schedule_tools(StoreSchedules(database), clock),
            *access_tools(requests, access=access, public_url=public_url, start_account=start_account),
            *llm_tools(completions),
            *harness_tools(reload),
        ]
    )
