"""What a worker needs for the customers of businesses' agents."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from subclaw.core.business import AgentPackage, Compute
from subclaw.core.errors import Denied
from subclaw.core.machine import Machines
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller, ToolDefinition
from subclaw.machines.host_client import HostClient
from subclaw.models.by_name import OpenedModel
from subclaw.store.database import Database
from subclaw.tools.commands import Placeholders
from subclaw.tools.machine import machine_tools
from subclaw.tools.toolbox import Tool
from subclaw.turns.customers import CustomerTailor, ToolsOf, Version, make_version, no_more_tools
from subclaw.turns.turn_machines import for_one_turn


def trial_version(package: AgentPackage, tools: Sequence[ToolDefinition], host_socket: Path) -> Version:
    """Return a version whose tools are there to be told of: an eval or a replay serves what they would say."""

    async def nothing(_: TenantId) -> dict[str, str]:
        return {}

    async def refuse(caller: Caller, arguments: Mapping[str, Any]) -> str:
        raise Denied("Nothing is done in a trial.")

    host = HostClient(host_socket)  # it is never opened
    version = make_version(package, machine_tools(host, host, nothing))
    return replace(version, own=(*(Tool(definition=tool, perform=refuse) for tool in tools), *version.own))


def customer_tailor(
    *,
    database: Database,
    machines: Machines,
    placeholders: Placeholders,
    model_of: Callable[[str], OpenedModel],
    clock: Callable[[], datetime],
    tools_of: ToolsOf = no_more_tools,
) -> CustomerTailor:
    """Return what makes turns those of a customer's agent. Customers have no house: files are the machine's alone."""
    of_machine = machine_tools(machines, machines, placeholders)
    return CustomerTailor(
        database=database,
        tools_of=tools_of,
        machine_tools={
            Compute.ON_DEMAND: of_machine,
            Compute.EPHEMERAL: [for_one_turn(tool, database, machines) for tool in of_machine],
        },
        model_of=model_of,
        clock=clock,
    )
