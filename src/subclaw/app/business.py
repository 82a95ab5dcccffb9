"""What a worker needs for the customers of businesses' agents."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from subclaw.core.business import AgentPackage, Compute
from subclaw.core.machine import Machines
from subclaw.core.tenant import TenantId
from subclaw.machines.host_client import HostClient
from subclaw.models.by_name import OpenedModel
from subclaw.store.database import Database
from subclaw.tools.commands import Placeholders
from subclaw.tools.machine import machine_tools
from subclaw.turns.customers import CustomerTailor, ToolsOf, Version, make_version, no_more_tools
from subclaw.turns.turn_machines import for_one_turn


def trial_version(package: AgentPackage, host_socket: Path) -> Version:
    """Return a version whose tools are there to be told of: an eval or a replay serves what they would say."""

    async def nothing(_: TenantId) -> dict[str, str]:
        return {}

    host = HostClient(host_socket)  # it is never opened
    return make_version(package, machine_tools(host, host, nothing))


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
