"""The machines that are awake on this host: what each may reach, kept as the book says, and what each has used."""

import asyncio
import hashlib
import logging
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from nacl.public import PrivateKey, SealedBox

from subclaw.core.completion import RULE
from subclaw.core.errors import SubclawError, Unavailable
from subclaw.core.policy import Rule, Scope
from subclaw.core.secret import BoundSecret, MintedSecret, label
from subclaw.core.tenant import TenantId
from subclaw.core.tenant_egress import EgressBook, TenantPolicy
from subclaw.egress.limits import Limits
from subclaw.egress.machines.access import Access
from subclaw.egress.machines.certificates import Authority
from subclaw.egress.machines.inside import Inside
from subclaw.egress.machines.journal import Journal
from subclaw.egress.machines.machine import Machine
from subclaw.egress.machines.meter import Meter
from subclaw.egress.names.server import name_rate
from subclaw.egress.oauth.accounts import Accounts
from subclaw.egress.outside import Outside
from subclaw.egress.refusal import Refusal
from subclaw.egress.seal import seal
from subclaw.egress.secrets.minted import Minted, as_bound, minted_binding
from subclaw.egress.secrets.opened import Opened
from subclaw.egress.vault import open_seal

RETRY_S = 1.0
RENEWAL_WAIT_S = 20.0
RENEWAL_LOOK_S = 0.25
"""How often it is looked whether another process has renewed an account's secret."""

_log = logging.getLogger(__name__)


class Machines:
    """The machines that were handed to this gateway."""

    def __init__(
        self,
        *,
        key: PrivateKey,
        book: EgressBook,
        accounts: Accounts | None = None,
        outside: Outside,
        limits: Limits,
        starter: Sequence[Rule],
        completions_socket: Path | None = None,
    ) -> None:
        """`key` is the gateway's own. `starter` are the rules that subclaw comes with.

        Machines may ask models by `completions_socket`, if it is given.
        Without `accounts`, the secrets of accounts are used as they are.
        """
        self._accounts = accounts
        self._key = bytes(key)
        self._box = SealedBox(key)
        self._public_key = bytes(key.public_key)
        self._book = book
        self._outside = outside
        self._limits = limits
        self._starter = tuple(starter)
        self._completions_socket = completions_socket
        self._journal = Journal(book)
        self._machines: set[Machine] = set()
        self._changed: set[TenantId] = set()
        self._changes = 0
        self._change = asyncio.Event()
        self._present, self._absent = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def opened(self, tenant_id: TenantId, *, for_tools: bool = False) -> AsyncIterator[Machine]:
        """Give a tenant's machine for the block, or what the tools of a customer's agent do for them.

        Errors: `Unavailable`, `Corrupt`.
        """
        changes = self._changes
        policy = await self._book.policy(tenant_id)
        machine = Machine(
            tenant_id=tenant_id,
            authority=Authority(self._key, tenant_id),
            access=self._access(policy, for_tools=for_tools),
            meter=Meter(policy.quota, await self._book.used_today(tenant_id)),
            outside=self._outside,
            limits=self._limits,
            note=self._journal.note,
            inside=self._inside(tenant_id),
            used=self._journal.note_used,
            mint=self._mint,
            renew=self._renew,
            name_key=hashlib.blake2s(b"names %d" % tenant_id, key=self._key).digest(),
            name_rate=name_rate(),
            for_tools=for_tools,
        )
        self._enter(machine)
        if self._changes != changes:  # perhaps of what was read before
            self._note_change(tenant_id)
        try:
            yield machine
        finally:
            self._leave(machine)
            self._journal.note_traffic(tenant_id, machine.meter.report())
            machine.close()

    async def keep(self) -> None:
        """Have changes hold as soon as they are known, and write down what was decided and used, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._hear_of_changes())
            group.create_task(self._follow_changes())
            group.create_task(self._journal.keep(self._gather))

    def _enter(self, machine: Machine) -> None:
        self._machines.add(machine)
        self._absent.clear()
        self._present.set()

    def _leave(self, machine: Machine) -> None:
        self._machines.discard(machine)
        if not self._machines:
            self._present.clear()
            self._absent.set()

    async def _hear_of_changes(self) -> None:
        """Hear of changes while there are machines: whoever listens costs the database a little at every notification.

        What changed before is known then: the book says that everything may have.
        """
        while True:
            await self._present.wait()
            async with asyncio.TaskGroup() as group:
                hearing = group.create_task(self._book.changes(self._note_change))
                await self._absent.wait()
                hearing.cancel()

    def _inside(self, tenant_id: TenantId) -> Inside | None:
        return Inside(self._completions_socket, tenant_id, self._limits) if self._completions_socket else None

    def _access(self, whole: TenantPolicy, *, for_tools: bool) -> Access:
        policy = whole if for_tools else whole.for_machine()
        own = (RULE,) if self._completions_socket else ()
        rules = (*policy.rules, *(self._starter if policy.starter else ()), *own)
        return Access(rules, policy.secrets, self._open_secret)

    def _open_secret(self, secret: BoundSecret) -> Opened:
        return open_seal(
            self._box,
            secret.sealed,
            label(secret.name, secret.scope, secret.tenant_id, secret.placeholder, secret.binding),
        )

    async def _mint(self, machine: Machine, parent: BoundSecret, minted: Mapping[str, Minted]) -> None:
        """See `machine.Mint`. They are stored before the machine has a placeholder: it outlives this process then."""
        binding, tenant_id = minted_binding(parent.binding), machine.tenant_id
        kept = []
        for placeholder, each in minted.items():
            name = f"MINTED_{secrets.token_hex(4).upper()}"
            sealed = seal(self._public_key, each.value, label(name, Scope.TENANT, tenant_id, placeholder, binding))
            kept.append(
                MintedSecret(name=name, placeholder=placeholder, binding=binding, sealed=sealed, lives_s=each.lives_s)
            )
        ids = await self._book.keep_minted(tenant_id, parent.id, kept)
        if not ids:
            raise Refusal(502, "the secret of that request has been revoked")
        machine.add_minted([as_bound(id, tenant_id, one) for id, one in zip(ids, kept, strict=True)])

    async def _renew(self, machine: Machine, secret: BoundSecret) -> None:
        """See `machine.Renew`. If it is in the hands of another process, that is waited for."""
        grant, accounts = secret.grant, self._accounts
        if grant is None or accounts is None:
            return
        try:
            async with asyncio.timeout(RENEWAL_WAIT_S):
                while machine.access.grant_of(secret.id) == grant:
                    renewed = await accounts.renew(grant)
                    await self._reload(machine.tenant_id)
                    if not renewed:
                        await asyncio.sleep(RENEWAL_LOOK_S)
        except TimeoutError:
            raise Unavailable(f"The account at {grant.provider} is not renewed in time.") from None

    def _note_change(self, tenant_id: TenantId | None) -> None:
        self._changes += 1
        here = {machine.tenant_id for machine in self._machines}
        self._changed |= here if tenant_id is None else here & {tenant_id}
        if self._changed:
            self._change.set()

    async def _follow_changes(self) -> None:
        while True:
            await self._change.wait()
            self._change.clear()
            changed, self._changed = self._changed, set()
            for tenant_id in changed:
                await self._reload(tenant_id)

    async def _reload(self, tenant_id: TenantId) -> None:
        """Let a tenant's policy hold as it is now; if it cannot be had, the old one does until it can."""
        asked_at_s = asyncio.get_running_loop().time()
        try:
            policy = await self._book.policy(tenant_id)
        except SubclawError as error:
            _log.warning("the policy of tenant %d is not known anew: %s", tenant_id, type(error).__name__)
            asyncio.get_running_loop().call_later(RETRY_S, self._note_change, tenant_id)
            return
        for machine in self._machines:
            if machine.tenant_id == tenant_id:
                machine.meter.quota = policy.quota
                machine.change(self._access(policy, for_tools=machine.for_tools), known_at_s=asked_at_s)

    def _gather(self) -> None:
        for machine in self._machines:
            self._journal.note_traffic(machine.tenant_id, machine.meter.report())
