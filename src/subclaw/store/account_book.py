"""Accounts in the database, as the egress gateway keeps them."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from subclaw.core.oauth import Connected, HeldGrant, ReturnedFlow, Revocation, SealedClient, SealedTokens
from subclaw.core.policy import Rule, Scope
from subclaw.core.secret import Grant
from subclaw.core.tenant import TenantId
from subclaw.store import secrets
from subclaw.store.database import Database
from subclaw.store.oauth import provider_from
from subclaw.store.secrets import SECRET_LIMIT, binding_from

RETURNED_WITHIN_S = 120
"""How long after a person has come back their link can be finished."""
REVOKE_AGAIN_S = 600
REVOKE_TRIES = 5


class StoreAccountBook:
    """See `core.oauth.AccountBook`. The database is open in the gateway's role."""

    def __init__(self, egress: Database) -> None:
        self._egress = egress

    async def returned_flow(self, flow_id: int) -> ReturnedFlow | None:
        """See `AccountBook.returned_flow`."""
        rows = await self._egress.rows(
            "SELECT * FROM flow_to_finish(%s, make_interval(secs => %s))", flow_id, RETURNED_WITHIN_S
        )
        for tenant_id, _, settings, client, state_hash, verifier, redirect_uri in rows:
            return ReturnedFlow(
                id=flow_id,
                tenant_id=TenantId(tenant_id),
                client=SealedClient(provider=provider_from(settings), sealed=client),
                state_hash=bytes(state_hash),
                verifier=bytes(verifier),
                redirect_uri=redirect_uri,
            )
        return None

    async def placeholder(self, tenant_id: TenantId, name: str) -> str | None:
        """See `AccountBook.placeholder`."""
        return await secrets.existing_placeholder(self._egress, Scope.TENANT, tenant_id, name)

    async def connect(self, flow: ReturnedFlow, tokens: SealedTokens) -> Connected:
        """See `AccountBook.connect`."""
        provider = flow.client.provider
        ((done,),) = await self._egress.rows(
            "SELECT connect_account(%s, %s, %s, %s::jsonb, %s, %s, %s, make_interval(secs => %s), %s)",
            flow.id,
            provider.secret_name,
            tokens.placeholder,
            json.dumps(asdict(provider.binding)),
            tokens.secret,
            tokens.renewal,
            tokens.renewable,
            tokens.lives_s,
            SECRET_LIMIT,
        )
        return Connected(done)

    async def hold(self, grant: Grant, for_s: float) -> HeldGrant | None:
        """See `AccountBook.hold`."""
        rows = await self._egress.rows(
            "SELECT * FROM hold_grant(%s, %s, make_interval(secs => %s))", grant.id, grant.generation, for_s
        )
        for tenant_id, _, settings, client, token, name, placeholder, binding in rows:
            return HeldGrant(
                grant=grant,
                tenant_id=TenantId(tenant_id),
                client=SealedClient(provider=provider_from(settings), sealed=client),
                token=bytes(token),
                name=name,
                placeholder=placeholder,
                binding=binding_from(binding),
            )
        return None

    async def renew(self, held: HeldGrant, tokens: SealedTokens) -> bool:
        """See `AccountBook.renew`."""
        ((done,),) = await self._egress.rows(
            "SELECT renew_grant(%s, %s, %s, %s, make_interval(secs => %s))",
            held.grant.id,
            held.grant.generation,
            tokens.secret,
            tokens.renewal,
            tokens.lives_s,
        )
        return bool(done)

    async def let_go(self, held: HeldGrant, pause_s: float) -> None:
        """See `AccountBook.let_go`."""
        await self._egress.rows(
            "SELECT let_go_of_grant(%s, %s, make_interval(secs => %s))", held.grant.id, held.grant.generation, pause_s
        )

    async def end(self, grant: Grant) -> None:
        """See `AccountBook.end`."""
        await self._egress.rows("SELECT end_grant(%s, %s)", grant.id, grant.generation)

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """See `AccountBook.addresses`."""
        rows = await self._egress.rows(
            "SELECT host, ports, addresses FROM egress_rule WHERE scope = 'operator' AND addresses <> '{}' ORDER BY id"
        )
        for pattern, ports, addresses in rows:
            if Rule(host=pattern, ports=tuple(ports)).covers(host, port):
                return tuple(addresses)
        return ()

    async def revocations(self, limit: int) -> Sequence[Revocation]:
        """See `AccountBook.revocations`."""
        rows = await self._egress.rows(
            "SELECT * FROM take_revocations(%s, make_interval(secs => %s), %s)", limit, REVOKE_AGAIN_S, REVOKE_TRIES
        )
        return [
            Revocation(
                id=id,
                client=SealedClient(provider=provider_from(settings), sealed=client),
                token=bytes(token),
                label=label,
            )
            for id, _, settings, client, token, label in rows
        ]

    async def forget_revocation(self, revocation: Revocation) -> None:
        """See `AccountBook.forget_revocation`."""
        await self._egress.rows("SELECT forget_revocation(%s)", revocation.id)
