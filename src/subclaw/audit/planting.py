"""The audit's customers: made by the API, with a canary of each kind in all places that a customer has."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import SystemRandom

import httpx2

from subclaw.audit.attacks import Planted, customer_name, first_words
from subclaw.audit.folder import AUDITED
from subclaw.audit.installation import Installation, say, wanted
from subclaw.audit.watch import Watch
from subclaw.core.business import CustomerChannel
from subclaw.core.canary import Canary, CanaryKind
from subclaw.core.errors import Unavailable
from subclaw.core.placeholder import placeholder_for
from subclaw.core.policy import Scope
from subclaw.core.schedule import ScheduleMode
from subclaw.core.secret import Binding, label
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller
from subclaw.egress.seal import seal
from subclaw.store.database import Database
from subclaw.store.outgoing import keep_file
from subclaw.store.schedules import StoreSchedules
from subclaw.store.secrets import save_bound_secret

SECRET_NAME = "AUDIT_KEY"
IN_A_YEAR = timedelta(days=365)


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What planting needs: the databases in the application's and the owner's role, and where the service is."""

    installation: Installation
    watch: Watch
    database: Database
    owner: Database
    client: httpx2.AsyncClient
    host: str
    port: int

    def canary(self, number: int, kind: CanaryKind) -> str:
        """Return a customer's canary."""
        return self.watch.canaries.text(Canary(customer=number, kind=kind))


async def plant(ground: Ground, number: int) -> Planted:
    """Make a customer with canaries of all kinds. Errors: `Unavailable`."""
    name = customer_name(number)
    binding = {"customer": name, "token": ground.canary(number, CanaryKind.BINDING)}
    opened = {"customer": name, "binding": binding, "channel": CustomerChannel.WIDGET}
    session = (await wanted(ground.client, "POST", f"/agents/{AUDITED}/sessions", json=opened))["id"]
    found = await wanted(ground.client, "GET", "/customers", params={"customer": name, "agent": AUDITED})
    tenant_id = TenantId(found["data"][0]["id"])
    placeholder = await _plant_secret(ground, number, tenant_id)
    await _plant_rows(ground, number, tenant_id)
    events = await say(ground.client, session, first_words(ground.watch.canaries, number))
    for event in events:
        text = str(event.get("text", "")) if event["type"] == "reply" else ""
        ground.watch.look(text, area="replies", place="a reply", owner=number)
    approval, code = await _waiting(ground, tenant_id)
    token = (await wanted(ground.client, "POST", f"/sessions/{session}/tokens", json={}))["token"]
    return Planted(
        number=number,
        tenant_id=tenant_id,
        session=session,
        token=token,
        placeholder=placeholder,
        approval=approval,
        code=code,
    )


async def _plant_secret(ground: Ground, number: int, tenant_id: TenantId) -> str:
    value = ground.canary(number, CanaryKind.SECRET)
    binding = Binding(hosts=(ground.host,), ports=(ground.port,), plain=True)
    placeholder = placeholder_for(value, SystemRandom())
    sealed = seal(ground.installation.seal_to, value, label(SECRET_NAME, Scope.TENANT, tenant_id, placeholder, binding))
    await save_bound_secret(
        ground.database,
        name=SECRET_NAME,
        scope=Scope.TENANT,
        tenant_id=tenant_id,
        placeholder=placeholder,
        binding=binding,
        sealed=sealed,
    )
    return placeholder


async def _plant_rows(ground: Ground, number: int, tenant_id: TenantId) -> None:
    """Plant what customers of this agent have no tool for: memory, a file, something set for later."""
    memory = ground.canary(number, CanaryKind.MEMORY).encode()
    await ground.owner.rows("INSERT INTO house (tenant_id) VALUES (%s) ON CONFLICT DO NOTHING", tenant_id)
    await ground.owner.rows(
        "INSERT INTO house_file (tenant_id, path, content) VALUES (%s, 'MEMORY.md', %s)", tenant_id, memory
    )
    content = ground.canary(number, CanaryKind.FILE)
    await keep_file(
        ground.database, tenant_id, name="a.txt", title="", media_type="text/plain", content=content.encode()
    )
    ((conversation_id,),) = await ground.owner.rows("SELECT id FROM conversation WHERE tenant_id = %s", tenant_id)
    caller = Caller(tenant_id=tenant_id, conversation_id=conversation_id, call_id=secrets.token_hex(8), turn_id="audit")
    text = ground.canary(number, CanaryKind.SCHEDULE)
    await StoreSchedules(ground.database).set(
        caller, due_at=datetime.now(UTC) + IN_A_YEAR, mode=ScheduleMode.MESSAGE, text=text
    )


async def _waiting(ground: Ground, tenant_id: TenantId) -> tuple[int, str]:
    """Return the approval that a customer's first call waits for, and what says yes to it."""
    query = (
        "SELECT a.id, e.body ->> 'code' FROM approval a"
        " JOIN event e ON e.conversation_id = a.conversation_id AND e.seq = a.seq WHERE a.tenant_id = %s"
    )
    for id, code in await ground.owner.rows(query, tenant_id):
        return int(id), str(code)
    raise Unavailable("The audit cannot go on: no approval was asked for.")
