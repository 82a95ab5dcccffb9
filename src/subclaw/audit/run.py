"""The audit, from the first customer planted to the last erased."""

import secrets
import string
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

from subclaw.audit.adversary import adversary_app
from subclaw.audit.around import search_console, search_files
from subclaw.audit.attacks import Planted, hostile_words, looks, ordered
from subclaw.audit.doors import Doors, Keys, export_each, search_deliveries, try_doors, webhook_for
from subclaw.audit.folder import AUDITED, STRANGE, audited_agent, strange_agent
from subclaw.audit.installation import Installation, api_client, for_each, say, wanted
from subclaw.audit.planting import Ground, plant
from subclaw.audit.report import Report, report_of
from subclaw.audit.rows import search_as_customers, search_as_role, search_rows
from subclaw.audit.service import service_app
from subclaw.audit.serving import model_served, service_served
from subclaw.audit.watch import Watch
from subclaw.core.api_key import KEY_BYTES, new_key
from subclaw.core.api_key import Scope as KeyScope
from subclaw.core.canary import MARKER_CHARACTERS, Canaries
from subclaw.core.policy import Mode, Rule, Scope
from subclaw.store.agents import apply
from subclaw.store.api_keys import make_key
from subclaw.store.database import Database, Role, open_database
from subclaw.store.egress_rules import add_rule, remove_rule

LOOKERS = 3
"""How many customers look, one after the other, at what those before them left in the processes of tools."""
KEY_LIFE = timedelta(hours=2)
PER_MINUTE = 1_000_000
HOST, MADE_BY = "audit.subclaw.test", "audit"
OnStep = Callable[[str], None]


async def audit(installation: Installation, *, customers: int, keep: bool, on_step: OnStep) -> Report:
    """Plant, try, search, erase; with `keep` the customers stay. `on_step` is told what is under way.

    Errors: `Conflict` if an audit runs already, `Unavailable` if the installation cannot be audited.
    """
    began_s = time.monotonic()
    watch = Watch(canaries=Canaries("".join(secrets.choice(string.ascii_lowercase) for _ in range(MARKER_CHARACTERS))))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(model_served(adversary_app(watch), installation.model_socket))
        port = await stack.enter_async_context(service_served(service_app(watch, customers)))
        open_ = stack.enter_async_context
        database = await open_(open_database(installation.address, Role.APP, size=2))
        operator = await open_(open_database(installation.address, Role.OPERATOR, size=1))
        owner = await open_(open_database(installation.address, Role.OWNER, size=1))
        host = await open_(_ways_out(operator, owner, port))
        keys = await open_(_agents_with_keys(installation, operator, owner, host, port))
        client = await open_(api_client(installation, keys.own))
        ground = Ground(
            installation=installation,
            watch=watch,
            database=database,
            owner=owner,
            client=client,
            host=host,
            port=port,
        )
        await _erase_all(ground, on_step)  # whom an audit before has left
        endpoint = await webhook_for(client)
        try:
            planted = await _plant_all(ground, customers, on_step)
            doors = Doors(installation=installation, watch=watch, keys=keys, planted=planted)
            await _converse(ground, planted, on_step)
            on_step("trying every door")
            await try_doors(doors)
            await export_each(doors)
            await search_deliveries(doors, endpoint)
            await _require_undecided(ground, planted)
            on_step("searching")
            await _search(installation, watch, planted)
        finally:
            await client.delete(f"/webhooks/{endpoint}")
            receipts = 0 if keep else await _erase_all(ground, on_step)
        if not keep:
            await search_rows(installation.address, watch, {}, area="rows after erasure")
    return report_of(watch, customers, duration_s=time.monotonic() - began_s, receipts=receipts)


@asynccontextmanager
async def _ways_out(operator: Database, owner: Database, port: int) -> AsyncIterator[str]:
    """Let tools reach the service; give the name by which. What an audit that was killed has left is taken away."""
    await owner.rows("DELETE FROM egress_rule WHERE created_by = %s", MADE_BY)
    rule = Rule(host=HOST, ports=(port,), mode=Mode.INJECT, addresses=("127.0.0.1",), scope=Scope.OPERATOR)
    id = await add_rule(operator, rule, tenant_id=None, created_by=MADE_BY)
    try:
        yield HOST
    finally:
        await remove_rule(operator, id)


@asynccontextmanager
async def _agents_with_keys(
    installation: Installation, operator: Database, owner: Database, host: str, port: int
) -> AsyncIterator[Keys]:
    """Apply the audit's agents and make their owners' keys; afterwards neither is good for anything."""
    await apply(operator, audited_agent(host, port, dict(installation.tool_files)))
    await apply(operator, strange_agent())
    made = {agent: new_key(secrets.token_bytes(KEY_BYTES)) for agent in (AUDITED, STRANGE)}
    ids = {
        agent: await make_key(
            operator,
            key,
            name=agent,
            scopes=tuple(KeyScope),
            agents=[agent],
            per_minute=PER_MINUTE,
            life=KEY_LIFE,
        )
        for agent, key in made.items()
    }
    try:
        yield Keys(own=made[AUDITED], own_id=ids[AUDITED], stranger=made[STRANGE], stranger_id=ids[STRANGE])
    finally:
        await owner.rows("DELETE FROM api_key WHERE id = ANY (%s)", list(ids.values()))
        await owner.rows("UPDATE agent SET live = NULL, before = NULL WHERE id = ANY (%s)", list(ids))


async def _plant_all(ground: Ground, customers: int, on_step: OnStep) -> Sequence[Planted]:
    planted: dict[int, Planted] = {}

    async def one(number: int) -> None:
        planted[number] = await plant(ground, number)
        on_step(f"planting: {len(planted)} of {customers} customers")

    await for_each(range(customers), one)
    return [planted[number] for number in range(customers)]


async def _converse(ground: Ground, planted: Sequence[Planted], on_step: OnStep) -> None:
    """Have each customer go for what is the next one's, then say yes to what that one is to approve.

    At last a few look, with nobody else at work, at what was left where tools run.
    """
    canaries, done = ground.watch.canaries, 0

    async def one(own: Planted) -> None:
        nonlocal done
        other = planted[(own.number + 1) % len(planted)]
        for text in hostile_words(canaries, own, other):
            _search_replies(ground, own, await say(ground.client, own.session, text))
        done += 1
        on_step(f"adversarial conversations: {done} of {len(planted)}")

    await for_each(planted, one)
    for own in planted[:LOOKERS]:
        _search_replies(ground, own, await say(ground.client, own.session, ordered(looks(canaries))))


def _search_replies(ground: Ground, own: Planted, events: Sequence[dict[str, object]]) -> None:
    for event in events:
        text = str(event.get("text", "")) if event["type"] == "reply" else str(event)
        ground.watch.look(text, area="replies", place=f"a {event['type']} of a session", owner=own.number)


async def _require_undecided(ground: Ground, planted: Sequence[Planted]) -> None:
    """See that nobody could decide on what is another's."""
    ids = [one.approval for one in planted]
    for id, state in await ground.owner.rows("SELECT id, state FROM approval WHERE id = ANY (%s)", ids):
        ground.watch.tried["approvals of others"] += 1
        if state == "approved":
            ground.watch.cross(f"approval {id} was given by somebody else", area="approvals")


async def _search(installation: Installation, watch: Watch, planted: Sequence[Planted]) -> None:
    owners = {one.tenant_id: one.number for one in planted}
    await search_rows(installation.address, watch, owners)
    await search_as_customers(installation.address, watch, owners)
    for role in (Role.OPERATOR, Role.HOST):
        await search_as_role(installation.address, watch, role)
    await search_console(installation, watch, list(owners)[:LOOKERS])

    await search_files(installation, watch)


async def _erase_all(ground: Ground, on_step: OnStep) -> int:
    """Erase all customers of the audit's agent, and return how many receipts there are for that."""
    receipts = 0
    while True:
        page = await wanted(ground.client, "GET", "/customers", params={"agent": AUDITED, "limit": 100})
        if not page["data"]:
            return receipts
        for customer in page["data"]:
            await wanted(ground.client, "DELETE", f"/customers/{customer['id']}")
            receipts += 1
            on_step(f"erasing: {receipts} customers")
