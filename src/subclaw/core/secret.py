"""A secret: a value that only the egress gateway can open; everybody else knows its name, its seal and its placeholder.

A machine has the placeholder, which has the shape of the value. Where a request to a host that the secret is bound to
holds it, the gateway puts the value in its place; anywhere else it is a text like any other.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from subclaw.core.policy import HTTPS_PORT, Mode, Rule, Scope
from subclaw.core.tenant import TenantId

PLACEHOLDER = "subclaw-placeholder"
"""What stands where a key of the platform's own would, until the gateway takes it out and puts the real one in."""


@dataclass(frozen=True, kw_only=True)
class SealedSecret:
    """A secret of the platform's own, as it is stored. `sealed` is a libsodium sealed box to the gateway's key."""

    name: str
    sealed: bytes


class Place(StrEnum):
    """Where in a request a secret goes."""

    HEADER = "header"
    BASIC = "basic"
    QUERY = "query"
    PATH = "path"


@dataclass(frozen=True, kw_only=True)
class Binding:
    """Where a secret may go: to which hosts, ports, methods and paths (patterns as in a `Rule`), and into what.

    `name` is the header's or the query parameter's name in small letters, or the user's name for Basic authentication
    (empty: whatever user is given); it is empty for a path. With a `template`, such as `Bearer {}`, a header or a Basic
    authentication is put into every request that the binding is about; without, the value only takes its placeholder's
    place. `plain` allows it over HTTP without TLS. With `tools`, the id of a business's agent, it is for what that
    agent's tools call on the host, and for nobody's machine.
    """

    hosts: tuple[str, ...]
    ports: tuple[int, ...] = (HTTPS_PORT,)
    methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    place: Place = Place.HEADER
    name: str = "authorization"
    template: str = ""
    plain: bool = False
    tools: str = ""

    def rules(self, scope: Scope) -> tuple[Rule, ...]:
        """Return what a secret of this binding lets machines reach: what it is for."""
        return tuple(
            Rule(
                host=host,
                ports=self.ports,
                methods=self.methods,
                paths=self.paths,
                mode=Mode.INJECT,
                scope=scope,
                tools=self.tools,
            )
            for host in self.hosts
        )


@dataclass(frozen=True, kw_only=True)
class Grant:
    """A person's consent that their account at a provider is used: the gateway renews the secret that stands for it.

    `id` is another whenever the account is connected anew, and `generation` grows with each renewal. The secret is as
    it is since `renewed_at`, and works until `expires_at`, if that is known. A grant that is `over` is of no use until
    the account is connected anew.
    """

    id: int
    provider: str
    generation: int
    expires_at: datetime | None
    renewed_at: datetime
    renewable: bool
    over: bool


@dataclass(frozen=True, kw_only=True)
class BoundSecret:
    """A secret for machines, as it is stored. `tenant_id` is None unless its scope is a tenant.

    `name` is that of the environment variable in which commands on a machine find the placeholder. `sealed` holds the
    value and the `label`: so a seal is of no use beside another name, tenant or binding. One that was `minted` came in
    an answer to a request with another secret, and lets machines reach nothing by itself.
    """

    id: int
    name: str
    scope: Scope
    tenant_id: TenantId | None
    placeholder: str
    binding: Binding
    sealed: bytes
    minted: bool = False
    grant: Grant | None = None


@dataclass(frozen=True, kw_only=True)
class MintedSecret:
    """A secret that is to be kept for `lives_s`, since it came in an answer."""

    name: str
    placeholder: str
    binding: Binding
    sealed: bytes
    lives_s: float


def label(name: str, scope: Scope, tenant_id: TenantId | None, placeholder: str, binding: Binding) -> str:
    """Return the text that a secret's seal is bound to: all that is known of it but its value."""
    fields = [
        *(name, scope.value, tenant_id, placeholder, list(binding.hosts), list(binding.ports), list(binding.methods)),
        *(list(binding.paths), binding.place.value, binding.name, binding.template, binding.plain),
        *([binding.tools] if binding.tools else []),  # seals are older than this
    ]
    return json.dumps(fields, ensure_ascii=True, separators=(",", ":"))
