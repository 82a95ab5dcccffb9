"""What a worker needs for the customers of businesses' agents."""

from collections.abc import Callable
from datetime import datetime

from subclaw.core.business import Compute
from subclaw.core.machine import Machines
from subclaw.models.by_name import OpenedModel
from subclaw.store.database import Database
from subclaw.tools.commands import Placeholders
from subclaw.tools.machine import machine_tools
from subclaw.turns.customers import CustomerTailor, ToolsOf, no_tools
from subclaw.turns.turn_machines import for_one_turn


def customer_tailor(
    *,
    database: Database,
    machines: Machines,
    placeholders: Placeholders,
    model_of: Callable[[str], OpenedModel],
    clock: Callable[[], datetime],
    tools_of: ToolsOf = no_tools,
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
