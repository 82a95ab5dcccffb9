"""A machine's way out for tests: its connections are made on loopback and served by the gateway's own code.

The hosts behind it are real servers on loopback under names of their own, which rules pin to 127.0.0.1.
"""

import asyncio
import contextlib
import itertools
import os
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from subclaw.core.errors import Unavailable
from subclaw.core.policy import Mode, Rule, Scope
from subclaw.core.quota import Quota
from subclaw.core.secret import Binding, BoundSecret, MintedSecret
from subclaw.core.tenant import TenantId
from subclaw.core.tenant_egress import Traffic
from subclaw.egress.http.wire import Wire
from subclaw.egress.limits import Limits
from subclaw.egress.machines.access import Access
from subclaw.egress.machines.certificates import Authority
from subclaw.egress.machines.connections import serve_machine_connection
from subclaw.egress.machines.inside import Inside
from subclaw.egress.machines.machine import Machine, Noted
from subclaw.egress.machines.meter import Meter
from subclaw.egress.names.resolver import HostResolver, Resolver
from subclaw.egress.names.server import name_rate
from subclaw.egress.outside import Outside
from subclaw.egress.secrets.minted import Minted, as_bound, minted_binding
from subclaw.egress.secrets.opened import Opened

ELSEWHERE = "203.0.113.9"
"""Whatever address a machine may believe a host to have."""
TENANT = TenantId(7)
LOOPBACK = ("127.0.0.1",)


@dataclass(kw_only=True)
class MachineDoor:
    """A machine's way out that is open. `decisions` are what was noted."""

    machine: Machine
    port: int = 0
    decisions: list[Noted] = field(default_factory=list)
    used: set[int] = field(default_factory=set)

    @property
    def trusting(self) -> ssl.SSLContext:
        """What a program on the machine trusts: its authority alone. HTTP/1.1 is offered."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.machine.authority.pem)
        return context

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Make a connection out of the machine."""
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def connect_tls(
        self, host: str, *, alpn: Sequence[str] = ("http/1.1",)
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Make a connection that names a host and trusts the machine's authority."""
        context = self.trusting
        context.set_alpn_protocols(list(alpn))
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname=host)

    async def talk(self, data: bytes, *, host: str | None = None) -> bytes:
        """Send bytes as they are, within TLS if a host is named, and return everything until the gateway closes."""
        reader, writer = await (self.connect() if host is None else self.connect_tls(host))
        received = bytearray()
        try:
            with contextlib.suppress(ConnectionError):
                writer.write(data)
                await writer.drain()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                while piece := await reader.read(65_536):
                    received += piece
        finally:
            writer.close()
        return bytes(received)


def upstream_authority() -> Authority:
    """Make an authority for hosts outside; `context(host)` is such a host's."""
    return Authority(os.urandom(32), TenantId(0))


def trusting(authority: Authority) -> ssl.SSLContext:
    """Return a context that trusts an authority alone and offers HTTP/1.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority.pem)
    context.set_alpn_protocols(["http/1.1"])
    return context


def pinned(host: str, port: int, mode: Mode = Mode.INSPECT, **fields: tuple[str, ...]) -> Rule:
    """Return a rule that allows a host which is on loopback."""
    return replace(Rule(host=host, ports=(port,), mode=mode, addresses=LOOPBACK), **fields)  # type: ignore[arg-type]


def access_of(rules: Sequence[Rule], secrets: Mapping[str, tuple[str, str, Binding]]) -> Access:
    """Return what a machine may reach: by rules, and with secrets, each its placeholder, its value and its binding."""
    bound = [
        BoundSecret(
            id=number,
            name=name,
            scope=Scope.TENANT,
            tenant_id=TENANT,
            placeholder=placeholder,
            binding=binding,
            sealed=value.encode(),
        )
        for number, (name, (placeholder, value, binding)) in enumerate(secrets.items(), start=1)
    ]
    return Access(rules, bound, lambda secret: Opened(secret.sealed.decode()))


async def _mint(machine: Machine, parent: BoundSecret, minted: Mapping[str, Minted]) -> None:
    """Keep what was minted in memory alone. The door's secrets are not sealed."""
    machine.add_minted(
        [
            as_bound(
                next(_minted_ids),
                machine.tenant_id,
                MintedSecret(
                    name="MINTED",
                    placeholder=placeholder,
                    binding=minted_binding(parent.binding),
                    sealed=each.value.encode(),
                    lives_s=each.lives_s,
                ),
            )
            for placeholder, each in minted.items()
        ]
    )


async def _renew(machine: Machine, secret: BoundSecret) -> None:
    """Say that there are no accounts here."""
    raise Unavailable("There are no accounts here.")


_minted_ids = itertools.count(1_000)


@asynccontextmanager
async def machine_door(
    access: Access,
    outside: Authority,
    port: int,
    *,
    limits: Limits | None = None,
    quota: Quota | None = None,
    resolver: Resolver | None = None,
    address: str = ELSEWHERE,
    completions_socket: Path | None = None,
) -> AsyncIterator[MachineDoor]:
    """Open a machine's way out: every connection to it is as if the machine had dialled `address` and `port`."""
    decisions: list[Noted] = []
    used: set[int] = set()
    names = HostResolver() if resolver is None else None
    machine = Machine(
        tenant_id=TENANT,
        authority=Authority(os.urandom(32), TENANT),
        access=access,
        meter=Meter(quota or Quota(requests_per_minute=100_000), Traffic()),
        outside=Outside(resolver=resolver or names or HostResolver(), tls=trusting(outside)),
        limits=limits or Limits(),
        note=lambda tenant_id, noted, sent_bytes, received_bytes: decisions.append(noted),
        inside=Inside(completions_socket, TENANT, limits or Limits()) if completions_socket else None,
        used=used.update,
        mint=_mint,
        renew=_renew,
        name_key=os.urandom(32),
        name_rate=name_rate(),
    )
    try:
        async with served(machine, port, address=address) as door_port:
            yield MachineDoor(machine=machine, port=door_port, decisions=decisions, used=used)
    finally:
        machine.close()
        if names is not None:
            await names.close()


@asynccontextmanager
async def served(machine: Machine, port: int, *, address: str = ELSEWHERE) -> AsyncIterator[int]:
    """Serve a machine's connections on a port of loopback, which is given, as if it had dialled `address`."""
    async with asyncio.TaskGroup() as group:

        def accept(wire: Wire) -> None:
            group.create_task(serve_machine_connection(wire, machine, address, port))

        server = await asyncio.get_running_loop().create_server(lambda: Wire(accept), "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for task in machine.serving():
                task.cancel()
