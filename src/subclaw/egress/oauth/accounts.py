"""Accounts: the gateway gets tokens for a person who has consented, renews them, and hands them back in the end.

Tokens are sealed as soon as they come, and nobody is told one. If this process dies between a provider's answer and the
store, they are lost: the person is asked again.
"""

import asyncio
import logging
from random import SystemRandom

from nacl.public import PrivateKey, SealedBox

from subclaw.core.errors import Conflict, Corrupt, Denied, Exhausted, NotFound, SubclawError, Unavailable
from subclaw.core.fault import FaultPoint, reached
from subclaw.core.oauth import (
    AccountBook,
    Connected,
    HeldGrant,
    ReturnedFlow,
    Revocation,
    SealedClient,
    SealedTokens,
    client_label,
    grant_label,
    verifier_label,
)
from subclaw.core.placeholder import placeholder_for
from subclaw.core.policy import Scope
from subclaw.core.secret import Binding, Grant, label
from subclaw.core.tenant import TenantId
from subclaw.egress.oauth.answer import Declined, Tokens, read_tokens
from subclaw.egress.oauth.call import Client, Reply, host_of, post_form
from subclaw.egress.outside import Outside
from subclaw.egress.seal import seal
from subclaw.egress.secrets.opened import Opened
from subclaw.egress.vault import open_seal

HOLD_S = 30.0
"""How long an account stays in the hands of a gateway that dies while it renews it."""
PAUSE_S = 5.0
"""How long after a renewal that failed nobody tries again."""
TRIES = 3
"""How often tokens are sealed, if somebody sets a secret of that name meanwhile."""
REVOKE_EVERY_S = 10.0
REVOKED_AT_ONCE = 10

_AGAIN = "Nothing was stored. Ask your agent for another link."
_log = logging.getLogger(__name__)


class Accounts:
    """The accounts of all tenants, as one process of the gateway deals with them."""

    def __init__(self, *, key: PrivateKey, book: AccountBook, outside: Outside) -> None:
        """`key` is the gateway's own."""
        self._box = SealedBox(key)
        self._public_key = bytes(key.public_key)
        self._book = book
        self._outside = outside
        self._random = SystemRandom()
        self._renewing: dict[tuple[int, int], asyncio.Task[bool]] = {}
        self._connecting: set[asyncio.Task[None]] = set()

    async def connect(self, flow_id: int, code: str) -> None:
        """Get and store the tokens of a person who has come back with a code (RFC 6749, section 4.1.3).

        Whoever asks may go: it is done all the same. Errors, with words for the person; nothing is stored then:
        `NotFound`, `Denied`, `Exhausted`, `Conflict`, `Unavailable`, `Corrupt`.
        """
        connecting = asyncio.get_running_loop().create_task(self._connect(flow_id, code))
        self._connecting.add(connecting)
        connecting.add_done_callback(self._connected)
        await asyncio.shield(connecting)

    async def renew(self, grant: Grant) -> bool:
        """Renew an account's secret, once, however many ask for it.

        Returns False if it is in other hands, was renewed already, cannot be renewed or is over.
        Errors: `Unavailable`, `Corrupt`.
        """
        if not grant.renewable:
            await self._book.end(grant)
            return False
        key = (grant.id, grant.generation)
        renewing = self._renewing.get(key)
        if renewing is None:
            renewing = self._renewing[key] = asyncio.get_running_loop().create_task(self._renew(grant))
            renewing.add_done_callback(lambda done: self._renewed(key, done))
        # Who gives up does not take the tokens from the others who wait, nor from the store.
        return await asyncio.shield(renewing)

    async def close(self) -> None:
        """Wait for what is under way: a token that was given and not stored would be lost."""
        await asyncio.gather(*self._renewing.values(), *self._connecting, return_exceptions=True)

    async def keep(self) -> None:
        """Tell providers of tokens that are in use no more, as far as they want to know, until cancelled."""
        while True:
            try:
                for revocation in await self._book.revocations(REVOKED_AT_ONCE):
                    await self._revoke(revocation)
            except SubclawError as error:
                _log.warning("tokens are not revoked now: %s", error.internal)
            await asyncio.sleep(REVOKE_EVERY_S)

    async def _connect(self, flow_id: int, code: str) -> None:
        flow = await self._book.returned_flow(flow_id)
        if flow is None:
            raise NotFound("This link is over. Ask your agent for another one.")
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": flow.redirect_uri,
            "code_verifier": open_seal(self._box, flow.verifier, verifier_label(flow.state_hash)).reveal(),
        }
        name = flow.client.provider.name
        try:
            answer = await self._tokens(flow.client, form)
        except Unavailable as error:
            raise Unavailable(f"{error.public} {_AGAIN}", internal=error.internal) from None
        if isinstance(answer, Declined):
            raise Denied(f"{name} does not give access ({answer.code or 'no reason given'}). {_AGAIN}")
        reached(FaultPoint.ACCOUNT_GIVEN)
        await self._store(flow, answer)
        _log.info("account connected provider=%s tenant=%d", name, flow.tenant_id)

    async def _renew(self, grant: Grant) -> bool:
        held = await self._book.hold(grant, HOLD_S)
        if held is None:
            return False
        token = open_seal(self._box, held.token, grant_label(held.tenant_id, grant.provider))
        form = {"grant_type": "refresh_token", "refresh_token": token.reveal()}
        try:
            answer = await self._tokens(held.client, form)
        except Unavailable:
            await self._book.let_go(held, PAUSE_S)
            raise
        if isinstance(answer, Tokens):
            reached(FaultPoint.ACCOUNT_RENEWED)
            sealed = self._sealed(held.tenant_id, held.client, held.placeholder, held.binding, answer)
            return await self._book.renew(held, sealed)
        await self._declined(held, answer)
        return False

    async def _declined(self, held: HeldGrant, answer: Declined) -> None:
        """Note that a renewal was declined: for good, or for a reason that is the operator's. Errors: `Unavailable`."""
        provider, reason = held.grant.provider, answer.code or "no reason given"
        _log.warning("renewal declined provider=%s tenant=%d reason=%s", provider, held.tenant_id, reason)
        if answer.code == "invalid_grant":
            await self._book.end(held.grant)
            return
        await self._book.let_go(held, PAUSE_S)
        raise Unavailable(f"{provider} does not renew its token just now ({reason}).")

    def _connected(self, done: asyncio.Task[None]) -> None:
        self._connecting.discard(done)
        if not done.cancelled():
            done.exception()  # which nobody may be left to hear of

    def _renewed(self, key: tuple[int, int], done: asyncio.Task[bool]) -> None:
        del self._renewing[key]
        if not done.cancelled():
            done.exception()  # which nobody may be left to hear of

    async def _store(self, flow: ReturnedFlow, tokens: Tokens) -> None:
        provider = flow.client.provider
        for _ in range(TRIES):
            placeholder = await self._book.placeholder(flow.tenant_id, provider.secret_name)
            placeholder = placeholder or placeholder_for(tokens.access.reveal(), self._random)
            sealed = self._sealed(flow.tenant_id, flow.client, placeholder, provider.binding, tokens)
            done = await self._book.connect(flow, sealed)
            if done is Connected.DONE:
                return
            if done is Connected.FULL:
                raise Exhausted("There are too many secrets already. Whoever runs this has to revoke some first.")
            if done is Connected.GONE:
                raise NotFound("This link is over. Ask your agent for another one.")
        raise Conflict(f"The secret {provider.secret_name} was just set by somebody else. {_AGAIN}")

    def _sealed(
        self, tenant_id: TenantId, client: SealedClient, placeholder: str, binding: Binding, tokens: Tokens
    ) -> SealedTokens:
        """Return tokens as they are stored. Where nothing can be renewed, the token itself is kept to be revoked."""
        provider = client.provider
        of_secret = label(provider.secret_name, Scope.TENANT, tenant_id, placeholder, binding)
        of_grant = grant_label(tenant_id, provider.name)
        kept = tokens.renewal or tokens.access
        return SealedTokens(
            placeholder=placeholder,
            secret=seal(self._public_key, tokens.access.reveal(), of_secret),
            renewal=seal(self._public_key, kept.reveal(), of_grant),
            renewable=tokens.renewal is not None,
            lives_s=tokens.lives_s,
        )

    async def _tokens(self, client: SealedClient, form: dict[str, str]) -> Tokens | Declined:
        """Ask a provider for tokens. Errors: `Unavailable`, in words; `Corrupt`."""
        reply = await self._post(client, client.provider.token_url, form)
        answer = read_tokens(reply.status, reply.media_type, reply.body)
        if answer is None:
            name = client.provider.name
            raise Unavailable(f"{name} gave no answer that is of use.", internal=f"{name}: status {reply.status}")
        return answer

    async def _post(self, client: SealedClient, url: str, form: dict[str, str]) -> Reply:
        provider = client.provider
        who = Client(id=provider.client_id, key=self._client_key(client), basic=provider.basic)
        return await post_form(self._outside, url, form, who, await self._book.addresses(*host_of(url)))

    def _client_key(self, client: SealedClient) -> Opened | None:
        if client.sealed is None:
            return None
        return open_seal(self._box, client.sealed, client_label(client.provider.name))

    async def _revoke(self, revocation: Revocation) -> None:
        """Tell a provider that a token is in use no more (RFC 7009); if it cannot be asked, that comes again."""
        name = revocation.client.provider.name
        try:
            token = open_seal(self._box, revocation.token, revocation.label)
            url, form = revocation.client.provider.revoke_url, {"token": token.reveal()}
            reply = await self._post(revocation.client, url, form)
        except (Unavailable, Corrupt) as error:
            _log.warning("token not revoked provider=%s: %s", name, error.internal)
            return
        _log.info("token revoked provider=%s status=%d", name, reply.status)
        if reply.status < 500:
            await self._book.forget_revocation(revocation)
