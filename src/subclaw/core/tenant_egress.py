"""What the egress gateway goes by for one tenant, and what it reports of the tenant's machine."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol, TypeVar

from subclaw.core.policy import Rule, Scope
from subclaw.core.quota import Quota
from subclaw.core.secret import BoundSecret, MintedSecret
from subclaw.core.tenant import TenantId


@dataclass(frozen=True, kw_only=True)
class TenantPolicy:
    """The rules and secrets that apply to a tenant, and what it may use.

    The rules that follow from the secrets' bindings are not among `rules`, nor is the list of hosts that subclaw comes
    with; `starter` says whether that is allowed. Of secrets of one name only the one that applies is here.
    What is for the tools of an agent, only its customers have, and their machines do not.
    """

    rules: tuple[Rule, ...] = ()
    secrets: tuple[BoundSecret, ...] = ()
    quota: Quota = field(default_factory=Quota)
    starter: bool = False

    def for_machine(self) -> "TenantPolicy":
        """Return what of it holds for the tenant's machine."""
        rules = tuple(rule for rule in self.rules if not rule.tools)
        return replace(self, rules=rules, secrets=tuple(each for each in self.secrets if not each.binding.tools))


@dataclass(frozen=True, kw_only=True)
class DecisionCount:
    """A decision on requests, and how often it was taken since the last report; `last_at` is when it was last.

    `method` and `path` are empty where only the host was decided on. `path` is canonical, without the query, and as the
    machine sent it, with placeholders; `mode` is empty where nothing was opened, `reason` where it was allowed.
    """

    tenant_id: TenantId
    host: str
    port: int
    method: str
    path: str
    allowed: bool
    mode: str
    reason: str
    count: int
    sent_bytes: int
    received_bytes: int
    last_at: datetime


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What a tenant's machine has used: in a day, or since the last report. `sent_bytes` went out of it."""

    requests: int = 0
    connections: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0


class Named(Protocol):
    """What has a name, and is somebody's."""

    @property
    def name(self) -> str:
        """The name."""
        ...

    @property
    def scope(self) -> Scope:
        """Whose it is."""
        ...

    @property
    def tenant_id(self) -> TenantId | None:
        """The tenant whose it is, if it is one's."""
        ...


NamedThing = TypeVar("NamedThing", bound=Named)


def applying(secrets: Iterable[NamedThing], tenant_id: TenantId) -> tuple[NamedThing, ...]:
    """Return the secrets that apply to a tenant: its own hides an agent's of that name, and that the operator's."""
    found: dict[str, NamedThing] = {}
    for secret in sorted(secrets, key=lambda secret: _ORDER.index(secret.scope)):
        if secret.tenant_id in (None, tenant_id):
            found[secret.name] = secret
    return tuple(found.values())


_ORDER = (Scope.OPERATOR, Scope.AGENT, Scope.TENANT)


class EgressBook(Protocol):
    """Where the gateway finds what it goes by, and writes down what came of it. All raise `Unavailable`."""

    async def policy(self, tenant_id: TenantId) -> TenantPolicy:
        """Return what holds for a tenant. Errors: `Corrupt`."""
        ...

    async def used_today(self, tenant_id: TenantId) -> Traffic:
        """Return what a tenant has used today (UTC)."""
        ...

    async def record(
        self, decisions: Sequence[DecisionCount], used: Mapping[TenantId, Traffic], secrets: Collection[int]
    ) -> None:
        """Write down what was decided and used since the last report, and which secrets were put into requests."""
        ...

    async def keep_minted(self, tenant_id: TenantId, minted_by: int, secrets: Sequence[MintedSecret]) -> Sequence[int]:
        """Store what came in an answer to a request with the secret `minted_by`; return ids, none if that is gone."""
        ...

    async def prune(self) -> None:
        """Forget what is too old to be kept."""
        ...

    async def changes(self, on_change: Callable[[TenantId | None], None]) -> None:
        """Say whose policy, secrets or quota has changed, until cancelled; None is for everybody's."""
        ...
