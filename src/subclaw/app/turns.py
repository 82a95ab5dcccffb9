"""What the worker's turns are made of: models, tools, and the tailor that makes them a tenant's own."""

from subclaw.app.business import customer_tailor
from subclaw.app.messaging import Messaging
from subclaw.app.surroundings import Surroundings
from subclaw.app.tools import built_in_toolbox
from subclaw.app.websites import Websites
from subclaw.business.tools import AgentTools
from subclaw.channels.registry import goes_out, limit_characters
from subclaw.core.approval import needs_approval
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller
from subclaw.harness.defaults import default_files
from subclaw.models.by_name import ModelsByName
from subclaw.store.flush import Flush
from subclaw.store.tenant_settings import model_name
from subclaw.tools.harness import Reloaded
from subclaw.tools.machine import SHELL_EXEC
from subclaw.tools.toolbox import BuiltInToolbox
from subclaw.turns.approvals import require_known, utc_now
from subclaw.turns.attachments import Attachments
from subclaw.turns.completions import AskedModels, MeteredCompletions
from subclaw.turns.customers import CustomerTailor, by_tenant
from subclaw.turns.live import LiveWords
from subclaw.turns.run import Turns
from subclaw.turns.tailor import Tailor


def make_completions(around: Surroundings, models: ModelsByName) -> MeteredCompletions:
    """Return what models are asked by beside turns: each tenant's are those of its turns."""

    async def models_of(tenant_id: TenantId) -> AskedModels:
        opened = models.model_of(await model_name(around.operator, tenant_id))
        return AskedModels(usual=opened.model, cheaper=opened.cheaper, tariff=opened.tariff)

    return MeteredCompletions(database=around.database, models_of=models_of, agent=around.agent)


def make_turns(
    around: Surroundings,
    websites: Websites,
    messaging: Messaging,
    models: ModelsByName,
    completions: MeteredCompletions,
    tools: AgentTools,
    live: LiveWords,
) -> Turns:
    """Return what runs turns; `tools` are those of businesses' agents, `live` tells replies as they are said.

    Errors: `Invalid` if the agent's file wants calls of a tool approved that there is not.
    """

    async def reload(caller: Caller) -> Reloaded:  # the toolbox has this tool, and the tailor the toolbox
        return await tailor.reload(caller)

    toolbox = built_in_toolbox(around, websites, messaging.outgoing, completions, reload)
    require_known(around.agent.approve, toolbox.definitions())
    tailor = _tailor(around, websites, models, toolbox)
    customers = _tailor_of_customers(around, models, tools)
    return Turns(
        database=around.database,
        model=models.model_of("").model,
        toolbox=toolbox,
        instructions=lambda _: "",  # this, the toolbox and the model are what the tailor replaces
        agent=around.agent,
        sends=goes_out,
        files=around.machines,
        limit_characters=limit_characters,
        typist=messaging.typist,
        live=live,
        flush=Flush(around.database),
        attachments=Attachments(database=around.database, channels=messaging.channels, files=around.machines),
        outgoing=messaging.outgoing,
        tailor=by_tenant(tailor, customers),
    )


def _tailor(around: Surroundings, websites: Websites, models: ModelsByName, toolbox: BuiltInToolbox) -> Tailor:
    return Tailor(
        database=around.database,
        machines=around.machines,
        placeholders=around.placeholders,
        toolbox=toolbox,
        defaults=default_files(),
        model_of=models.model_of,
        url_of=websites.address.url_of,
        clock=utc_now,
        approve_commands=needs_approval(around.agent.approve, SHELL_EXEC),
    )


def _tailor_of_customers(around: Surroundings, models: ModelsByName, tools: AgentTools) -> CustomerTailor:
    return customer_tailor(
        database=around.database,
        machines=around.machines,
        placeholders=around.placeholders,
        model_of=models.model_of,
        clock=utc_now,
        tools_of=tools.tools_of,
    )
