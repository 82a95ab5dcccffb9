"""The egress benchmark's gateway: `python -m bench.egress_gateway FOLDER TLS_PORT PLAIN_PORT`.

It serves the control plane by `FOLDER/egress.sock`, and one machine by a port of loopback, which it prints: as if every
connection there had been redirected out of the machine. What it writes of its decisions goes to a book in memory.
"""

import asyncio
import logging
import os
import ssl
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import uvloop
from bench.egress_policy import PLACEHOLDER, VALUE, binding, rules

from subclaw.core.policy import Scope
from subclaw.core.quota import Quota
from subclaw.core.secret import BoundSecret, MintedSecret, SealedSecret, label
from subclaw.core.tenant import TenantId
from subclaw.core.tenant_egress import DecisionCount, TenantPolicy, Traffic
from subclaw.core.upstream import Upstream
from subclaw.egress.gateway import EgressSettings, ForControl, serve_egress
from subclaw.egress.http.wire import Wire
from subclaw.egress.keys import ensure_key, read_private_key, read_public_key
from subclaw.egress.limits import MACHINE_LIMITS
from subclaw.egress.machines.connections import serve_machine_connection
from subclaw.egress.machines.machines import Machines
from subclaw.egress.names.resolver import HostResolver
from subclaw.egress.outside import Outside
from subclaw.egress.seal import seal
from subclaw.testing.egress_machine import ELSEWHERE

TENANT = TenantId(7)


class _Book:
    """See `EgressBook`."""

    def __init__(self, policy: TenantPolicy) -> None:
        self._policy = policy

    async def policy(self, tenant_id: TenantId) -> TenantPolicy:
        return self._policy

    async def used_today(self, tenant_id: TenantId) -> Traffic:
        return Traffic()

    async def record(
        self, decisions: Sequence[DecisionCount], used: Mapping[TenantId, Traffic], secrets: Collection[int]
    ) -> None:
        pass

    async def keep_minted(self, tenant_id: TenantId, minted_by: int, secrets: Sequence[MintedSecret]) -> Sequence[int]:
        return ()

    async def prune(self) -> None:
        pass

    async def changes(self, on_change: Callable[[TenantId | None], None]) -> None:
        await asyncio.get_running_loop().create_future()


def _policy(folder: Path, port: int) -> TenantPolicy:
    bound = binding(port)
    meant_for = label("API_KEY", Scope.TENANT, TENANT, PLACEHOLDER, bound)
    secret = BoundSecret(
        id=1,
        name="API_KEY",
        scope=Scope.TENANT,
        tenant_id=TENANT,
        placeholder=PLACEHOLDER,
        binding=bound,
        sealed=seal(read_public_key(folder), VALUE, meant_for),
    )
    quota = Quota(requests_per_minute=10_000_000, bytes_per_day=2**50)
    return TenantPolicy(rules=rules(port), secrets=(secret,), quota=quota)


async def _serve_machine(folder: Path, port: int) -> None:
    context = ssl.create_default_context(cafile=folder / "upstream.pem")
    context.set_alpn_protocols(["http/1.1"])
    machines = Machines(
        key=read_private_key(folder),
        book=_Book(_policy(folder, port)),
        outside=Outside(resolver=HostResolver(), tls=context),
        limits=MACHINE_LIMITS,
        starter=(),
    )
    async with machines.opened(TENANT) as machine, asyncio.TaskGroup() as group:
        group.create_task(machines.keep())

        def accept(wire: Wire) -> None:
            group.create_task(serve_machine_connection(wire, machine, ELSEWHERE, port))

        server = await asyncio.get_running_loop().create_server(lambda: Wire(accept), "127.0.0.1", 0)
        (folder / "machine.pem").write_text(machine.authority.pem)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


async def _serve(folder: Path, tls_port: int, plain_port: int) -> None:
    sealed = SealedSecret(name="key", sealed=seal(read_public_key(folder), VALUE, "key"))

    async def load() -> Sequence[SealedSecret]:
        return [sealed]

    control = ForControl(
        socket_path=folder / "egress.sock",
        socket_gid=os.getgid(),
        upstreams=(Upstream(name="model", base_url=f"http://127.0.0.1:{plain_port}", secret="key"),),
        load_secrets=load,
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(serve_egress(EgressSettings(key_folder=folder, control=control)))
        group.create_task(_serve_machine(folder, tls_port))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, filename=os.devnull)
    given = Path(sys.argv[1])
    ensure_key(given, os.getuid(), os.getgid())
    uvloop.run(_serve(given, int(sys.argv[2]), int(sys.argv[3])))
