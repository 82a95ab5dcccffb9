"""Access as the store keeps it: the links by which secrets are handed over, rules that people agreed to, requests."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum

from subclaw.core.access import LINK_LIFE_S, WAITING_LIFE_S, WAITING_LIMIT, RequestState, SecretRequest, token_hash
from subclaw.core.errors import Exhausted
from subclaw.core.policy import Rule
from subclaw.core.secret import Binding
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller
from subclaw.store.database import Database
from subclaw.store.egress_rules import add_rule, list_rules
from subclaw.store.secrets import SECRET_LIMIT, binding_from

REQUEST_LIMIT = 50
"""How many links of a tenant are kept: the newest."""

RULES_LIMIT = 5_000
"""More rules than can apply to one tenant."""

CREATED_BY = "user"

_ASK_OPERATOR = """
    SELECT ask_operator(%s, %s, %s, %s, %s::integer[], %s::text[], %s::text[], %s, make_interval(secs => %s), %s)
"""


class Kept(StrEnum):
    """What became of a secret that was handed over.

    It is set; the link had been used or had expired; the secret has just got another placeholder, so that it has to be
    sealed again; the tenant has as many as there may be.
    """

    SET = "open"
    USED = "used"
    EXPIRED = "expired"
    CHANGED = "changed"
    FULL = "full"


class StoreAccess:
    """See `core.access.AccessRequests`.

    `operator` is open in the operator's role, which sees everybody's rules; `starter` are those that are not stored.
    """

    def __init__(self, database: Database, operator: Database, *, starter: Sequence[Rule] = ()) -> None:
        self._database = database
        self._operator = operator
        self._starter = starter

    async def rules(self, tenant_id: TenantId) -> Sequence[Rule]:
        """See `core.access.AccessRequests.rules`."""
        kept = await list_rules(self._operator, tenant_id, limit=RULES_LIMIT)
        return [*self._starter, *(one.rule for one in kept)]

    async def allow(self, tenant_id: TenantId, rule: Rule) -> None:
        """See `core.access.AccessRequests.allow`."""
        if rule not in await self.rules(tenant_id):
            await add_rule(self._database, rule, tenant_id=tenant_id, created_by=CREATED_BY)

    async def ask_operator(self, caller: Caller, rule: Rule) -> None:
        """See `core.access.AccessRequests.ask_operator`."""
        ((waits,),) = await self._database.rows(
            _ASK_OPERATOR,
            caller.tenant_id,
            caller.conversation_id,
            caller.call_id,
            rule.host,
            list(rule.ports),
            list(rule.methods),
            list(rule.paths),
            rule.comment,
            WAITING_LIFE_S,
            WAITING_LIMIT,
        )
        if not waits:
            raise Exhausted(f"{WAITING_LIMIT} requests wait for the operator already. Go on without this one for now.")

    async def ask_secret(self, caller: Caller, token: str, *, name: str, binding: Binding, reason: str) -> None:
        """See `core.access.AccessRequests.ask_secret`."""
        await self._database.rows(
            "SELECT ask_secret(%s, %s, %s, %s, %s, %s::jsonb, '', %s, make_interval(secs => %s), %s)",
            caller.tenant_id,
            caller.conversation_id,
            caller.call_id,
            token_hash(token),
            name,
            json.dumps(asdict(binding)),
            reason,
            LINK_LIFE_S,
            REQUEST_LIMIT,
        )


async def find_request(database: Database, token: str) -> SecretRequest | None:
    """Return what a link is for, if there is one of that token. Errors: `Unavailable`, `Corrupt`."""
    rows = await database.rows("SELECT * FROM find_secret_request(%s)", token_hash(token))
    for tenant_id, tenant_name, name, binding, kind, reason, state in rows:
        return SecretRequest(
            tenant_id=TenantId(tenant_id),
            tenant_name=tenant_name,
            name=name,
            binding=None if binding is None else binding_from(binding),
            kind=kind,
            reason=reason,
            state=RequestState(state),
        )
    return None


async def set_secret(
    database: Database, token: str, *, name: str, placeholder: str, binding: Binding, sealed: bytes
) -> Kept:
    """Set the secret that a link is for, and wake the agent, in one transaction; the link is used up with that.

    Errors: `Unavailable`; whether it was done is then unknown, and trying again tells.
    """
    ((state,),) = await database.rows(
        "SELECT set_secret(%s, %s, %s, %s::jsonb, %s, %s)",
        token_hash(token),
        name,
        placeholder,
        json.dumps(asdict(binding)),
        sealed,
        SECRET_LIMIT,
    )
    return Kept(state)
