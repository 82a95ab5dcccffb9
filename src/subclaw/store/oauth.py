"""Providers and links by which persons connect accounts, as everybody but the gateway sees them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from subclaw.core.access import token_hash
from subclaw.core.errors import Corrupt, NotFound
from subclaw.core.oauth import LINK_LIFE_S, Flow, FlowState, Provider, challenge_of
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller
from subclaw.store.database import Database
from subclaw.store.secrets import binding_from

FLOW_LIMIT = 50
"""How many links of a tenant are kept: the newest."""

_PROVIDERS = """
    SELECT p.settings, p.updated_at, count(g.id), count(g.id) FILTER (WHERE g.over)
    FROM oauth_provider p LEFT JOIN oauth_grant g ON g.provider = p.name GROUP BY p.name ORDER BY p.name LIMIT %s
"""
_ACCOUNTS = "SELECT provider, connected_at, over FROM oauth_grant WHERE tenant_id = %s ORDER BY provider"


@dataclass(frozen=True, kw_only=True)
class ProviderSummary:
    """A provider, and how many accounts there are at it; `lost` of them are to be connected anew."""

    provider: Provider
    updated_at: datetime
    accounts: int
    lost: int


@dataclass(frozen=True, kw_only=True)
class ConnectedAccount:
    """An account of a tenant's. It `is_lost` once it has to be connected anew."""

    provider: str
    connected_at: datetime
    is_lost: bool


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What an agent may offer its person. `provider` is None if there is none of that name; `names` are of all."""

    tenant_name: str
    provider: Provider | None
    names: tuple[str, ...]


async def save_provider(operator: Database, provider: Provider, sealed: bytes | None) -> None:
    """Store a provider, or its settings anew; without a seal, our key there stays as it is. Errors: `Unavailable`."""
    settings = json.dumps(asdict(provider))
    await operator.rows("SELECT set_oauth_provider(%s, %s::jsonb, %s)", provider.name, settings, sealed)


async def remove_provider(operator: Database, name: str) -> int:
    """Remove a provider with all accounts at it; return how many there were. Errors: `NotFound`, `Unavailable`."""
    ((count,),) = await operator.rows("SELECT remove_oauth_provider(%s)", name)
    if count is None:
        raise NotFound(f"There is no provider {name}.")
    return int(count)


async def list_providers(operator: Database, *, limit: int) -> tuple[ProviderSummary, ...]:
    """List providers by name. Errors: `Unavailable`, `Corrupt`."""
    return tuple(
        ProviderSummary(provider=provider_from(settings), updated_at=updated_at, accounts=accounts, lost=lost)
        for settings, updated_at, accounts, lost in await operator.rows(_PROVIDERS, limit)
    )


async def accounts_of(operator: Database, tenant_id: TenantId) -> tuple[ConnectedAccount, ...]:
    """List a tenant's accounts, by provider. Errors: `Unavailable`."""
    return tuple(
        ConnectedAccount(provider=provider, connected_at=connected_at, is_lost=over)
        for provider, connected_at, over in await operator.rows(_ACCOUNTS, tenant_id)
    )


async def offered(database: Database, tenant_id: TenantId, name: str) -> Offer:
    """Return what a tenant's agent may offer. The database is open in the application's role, here and below."""
    ((tenant_name, settings, names),) = await database.rows("SELECT * FROM oauth_offer(%s, %s)", tenant_id, name)
    provider = None if settings is None else provider_from(settings)
    return Offer(tenant_name=tenant_name, provider=provider, names=tuple(names))


async def begin_flow(
    database: Database, caller: Caller, provider: Provider, *, token: str, verifier: str, sealed: bytes, redirect: str
) -> None:
    """Store a link, in place of the one of the same call; `sealed` is the verifier. Errors: `Unavailable`."""
    await database.rows(
        "SELECT begin_oauth(%s, %s, %s, %s, %s, %s, %s, %s, make_interval(secs => %s), %s)",
        caller.tenant_id,
        caller.conversation_id,
        caller.call_id,
        provider.name,
        token_hash(token),
        challenge_of(verifier),
        sealed,
        redirect,
        LINK_LIFE_S,
        FLOW_LIMIT,
    )


async def find_flow(database: Database, token: str, *, take: bool) -> Flow | None:
    """Return what a link is for, if there is one of that token; `take` uses it up.

    The state is that before: only one who takes an open link finds it so. Errors: `Unavailable`, `Corrupt`.
    """
    rows = await database.rows("SELECT * FROM present_flow(%s, %s)", token_hash(token), take)
    for id, _, settings, challenge, redirect_uri, state in rows:
        return Flow(
            id=id,
            provider=provider_from(settings),
            challenge=challenge,
            redirect_uri=redirect_uri,
            state=FlowState(state),
        )
    return None


def provider_from(stored: Mapping[str, Any]) -> Provider:
    """Return a provider as the store keeps it. Errors: `Corrupt`."""
    try:
        return Provider(
            name=stored["name"],
            authorize_url=stored["authorize_url"],
            token_url=stored["token_url"],
            revoke_url=stored["revoke_url"],
            client_id=stored["client_id"],
            scopes=tuple(stored["scopes"]),
            parameters=dict(stored["parameters"]),
            basic=stored["basic"],
            redirect_uri=stored["redirect_uri"],
            binding=binding_from(stored["binding"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Corrupt(
            "A provider cannot be read; set it again.", internal=f"oauth provider: {type(error).__name__}"
        ) from error
