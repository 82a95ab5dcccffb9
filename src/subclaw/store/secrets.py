"""Secrets, sealed. Whoever may write them cannot read them; the egress gateway reads them and holds the key.

Those of the platform's own are kept by name; those for machines are bound to what they are for.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import TupleRow

from subclaw.core.errors import Conflict, Corrupt, Exhausted, NotFound
from subclaw.core.policy import Scope
from subclaw.core.secret import Binding, MintedSecret, Place, SealedSecret
from subclaw.core.tenant import TenantId
from subclaw.store.database import Database

SECRET_LIMIT = 200
"""Most secrets of one scope or tenant."""

MINTED_LIMIT = 50
"""How many secrets of a tenant that came in answers are kept: the newest."""


@dataclass(frozen=True, kw_only=True)
class SecretSummary:
    """A secret for machines without its seal. `tenant_name` is empty unless it is one tenant's."""

    id: int
    name: str
    scope: Scope
    tenant_id: TenantId | None
    tenant_name: str
    placeholder: str
    binding: Binding
    created_at: datetime
    updated_at: datetime
    last_used_at: datetime | None


async def save_secret(operator: Database, secret: SealedSecret) -> None:
    """Store a sealed secret of the platform's own under its name, in place of an older one."""
    await operator.rows(
        "INSERT INTO secret (name, sealed) VALUES (%s, %s)"
        " ON CONFLICT (name) DO UPDATE SET sealed = %s, updated_at = now()",
        secret.name,
        secret.sealed,
        secret.sealed,
    )


async def load_secrets(egress: Database) -> Sequence[SealedSecret]:
    """Return all sealed secrets of the platform's own. The database is open in the gateway's role."""
    return [
        SealedSecret(name=name, sealed=bytes(sealed))
        for name, sealed in await egress.rows("SELECT name, sealed FROM secret")
    ]


async def existing_placeholder(database: Database, scope: Scope, tenant_id: TenantId | None, name: str) -> str | None:
    """Return the placeholder that a secret has, and keeps when it is set again; None if there is no such secret.

    Here and below the database is open in the operator's role, in the gateway's, or in the application's for what is a
    tenant's own, and `tenant_id` is None unless the scope is a tenant. Errors: `Unavailable`.
    """
    ((placeholder,),) = await database.rows(
        "SELECT existing_placeholder(%s::egress_scope, %s, %s)", scope.value, tenant_id, name
    )
    return None if placeholder is None else str(placeholder)


async def save_bound_secret(
    database: Database,
    *,
    name: str,
    scope: Scope,
    tenant_id: TenantId | None,
    placeholder: str,
    binding: Binding,
    sealed: bytes,
) -> int:
    """Store a secret for machines, in place of one of the same scope and name, and return its id.

    It is sealed with the label that `core.secret.label` gives for all of this. Errors: `Conflict` if the secret has
    another placeholder, so that it is to be sealed with that; `Exhausted` if there are too many; `Unavailable`.
    """
    ((id,),) = await database.rows(
        "SELECT keep_bound_secret(%s::egress_scope, %s, %s, %s, %s::jsonb, %s, %s)",
        scope.value,
        tenant_id,
        name,
        placeholder,
        json.dumps(asdict(binding)),
        sealed,
        SECRET_LIMIT,
    )
    if id is None:
        raise Conflict(f"The secret {name} has just been set by somebody else. Set it again.")
    if not id:
        raise Exhausted(f"There are {SECRET_LIMIT} secrets already. Revoke some first.")
    return int(id)


async def remove_secret(database: Database, scope: Scope, tenant_id: TenantId | None, name: str) -> None:
    """Remove a secret for machines: its placeholder is a text like any other. Errors: `NotFound`, `Unavailable`."""
    ((gone,),) = await database.rows(
        "SELECT forget_bound_secret(%s::egress_scope, %s, %s)", scope.value, tenant_id, name
    )
    if not gone:
        raise NotFound(f"There is no secret {name} there.")


async def list_secrets(
    database: Database, tenant_id: TenantId | None = None, *, limit: int
) -> tuple[SecretSummary, ...]:
    """List secrets for machines, the operator's first: everybody's, or the tenant's own and those that count for all.

    Errors: `Unavailable`, `Corrupt`.
    """
    return tuple(map(_summary, await database.rows("SELECT * FROM bound_secrets(%s, %s)", tenant_id, limit)))


async def placeholders(database: Database, tenant_id: TenantId) -> Mapping[str, str]:
    """Return what commands on a tenant's machine have in place of secrets, by the names of environment variables.

    Of secrets of one name it is the tenant's own, else the agent's, else the operator's. The database is open in the
    application's role. Errors: `Unavailable`.
    """
    return dict(await database.rows("SELECT name, placeholder FROM placeholders_of(%s)", tenant_id))


async def mark_used(egress: Database, ids: Sequence[int]) -> None:
    """Note that these secrets were used just now. Errors: `Unavailable`."""
    await egress.rows("UPDATE bound_secret SET last_used_at = now() WHERE id = ANY (%s)", list(ids))


async def keep_minted(
    egress: Database, tenant_id: TenantId, minted_by: int, minted: Sequence[MintedSecret]
) -> tuple[int, ...]:
    """Store secrets that came in an answer to a request with the secret `minted_by`; return their ids, in order.

    There are none if that secret is gone. The database is open in the gateway's role. Errors: `Unavailable`.
    """
    documents = [{**asdict(one), "sealed": base64.b64encode(one.sealed).decode()} for one in minted]
    rows = await egress.rows(
        "SELECT keep_minted(%s, %s, %s::jsonb, %s)", tenant_id, minted_by, json.dumps(documents), MINTED_LIMIT
    )
    return tuple(int(id) for (id,) in rows)


def binding_from(stored: Mapping[str, Any]) -> Binding:
    """Return a binding as the store keeps it. Errors: `Corrupt`."""
    try:
        return Binding(
            hosts=tuple(stored["hosts"]),
            ports=tuple(stored["ports"]),
            methods=tuple(stored["methods"]),
            paths=tuple(stored["paths"]),
            place=Place(stored["place"]),
            name=stored["name"],
            template=stored["template"],
            plain=stored["plain"],
            tools=stored.get("tools", ""),  # which older ones lack
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Corrupt("A secret cannot be read; set it again.", internal=f"binding: {type(error).__name__}") from error


def _summary(row: TupleRow) -> SecretSummary:
    id, name, scope, tenant_id, tenant_name, placeholder, binding, created_at, updated_at, last_used_at = row
    return SecretSummary(
        id=id,
        name=name,
        scope=Scope(scope),
        tenant_id=tenant_id,
        tenant_name=tenant_name or "",
        placeholder=placeholder,
        binding=binding_from(binding),
        created_at=created_at,
        updated_at=updated_at,
        last_used_at=last_used_at,
    )
