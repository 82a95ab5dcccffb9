"""The gateway dies between a provider's answer and the store: no half state is left, and the person is asked again."""

import asyncio
import signal
import sys
from asyncio.subprocess import Process, create_subprocess_exec
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.budgets import owner_rows
from tests.real.oauth_scene import NAME, Scene, scene, serving

from subclaw.core.fault import FaultPoint
from subclaw.store.account_book import StoreAccountBook
from subclaw.store.database import DatabaseAddress
from subclaw.testing.egress_machine import trusting

DEADLINE_S = 60
GATEWAY = """
import asyncio, os, signal, ssl, sys
from pathlib import Path
from subclaw.core import fault
from subclaw.core.tenant import TenantId
from subclaw.egress.oauth.accounts import Accounts
from subclaw.egress.gateway import EgressSettings, ForControl, serve_egress
from subclaw.egress.keys import read_private_key
from subclaw.egress.outside import Outside
from subclaw.egress.names.resolver import HostResolver
from subclaw.store.account_book import StoreAccountBook
from subclaw.store.database import DatabaseAddress, Role, open_database
from subclaw.store.tenant_egress import load_policy

url, folder, point, tenant = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])

async def no_secrets():
    return ()

async def main():
    fault.install(lambda reached: os.kill(os.getpid(), signal.SIGKILL) if reached == point else None)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.load_verify_locations(folder / "authority.pem")
    async with open_database(DatabaseAddress(url=url, private=True), Role.EGRESS, size=2) as database:
        book = StoreAccountBook(database)
        if tenant:
            outside = Outside(resolver=HostResolver(), tls=tls)
            (secret,) = (await load_policy(database, TenantId(tenant))).secrets
            await Accounts(key=read_private_key(folder), book=book, outside=outside).renew(secret.grant)
        control = ForControl(
            socket_path=folder / "egress.sock", socket_gid=os.getgid(), upstreams=(), load_secrets=no_secrets)
        await serve_egress(EgressSettings(key_folder=folder, control=control, accounts=book, ssl_context=tls))

asyncio.run(main())
"""


def play(address: DatabaseAddress, folder: Path, scenario: Callable[[Scene], Awaitable[None]], *, serves: bool) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE_S), scene(address, folder, serves=serves) as everything:
            await scenario(everything)

    asyncio.run(bounded())


@asynccontextmanager
async def gateway(everything: Scene, folder: Path, point: FaultPoint, tenant: int = 0) -> AsyncIterator[Process]:
    """Run a process of the gateway that dies at a point; with a tenant, it renews that one's account first."""
    arguments = [sys.executable, "-c", GATEWAY, everything.address.url, str(folder), point.value, str(tenant)]
    process = await create_subprocess_exec(*arguments)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def test_killed_when_a_provider_has_given_tokens(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario(everything: Scene) -> None:
        back = await everything.consent()
        async with gateway(everything, tmp_path, FaultPoint.ACCOUNT_GIVEN) as process:
            answer = await everything.get(back)
            assert (answer.status_code, "is not known" in answer.text) == (503, True)
            assert await process.wait() == -signal.SIGKILL
        assert everything.provider.exchanges == 1, "the provider has given them"
        assert everything.rows("SELECT 1 FROM oauth_grant") == everything.rows("SELECT 1 FROM bound_secret") == []
        assert everything.told() == []
        (tmp_path / "egress.sock").unlink()
        async with serving(tmp_path, StoreAccountBook(everything.egress), trusting(everything.authority)):
            assert (await everything.get(back)).status_code == 422, "the link is used up"
            assert (await everything.connect()).status_code == 200
        assert everything.told() == [f"secret {NAME}"]

    play(address, tmp_path, scenario, serves=False)


def test_killed_when_a_provider_has_renewed_tokens(address: DatabaseAddress, tmp_path: Path) -> None:
    async def scenario(everything: Scene) -> None:
        assert (await everything.connect()).status_code == 200
        before = everything.rows("SELECT generation, token, over FROM oauth_grant")
        async with gateway(everything, tmp_path, FaultPoint.ACCOUNT_RENEWED, everything.tenant_id) as process:
            assert await process.wait() == -signal.SIGKILL
        assert everything.provider.renewals == 1, "the provider has taken the old token and given a new one"
        assert everything.rows("SELECT generation, token, over FROM oauth_grant") == before
        owner_rows(address, "UPDATE oauth_grant SET expires_at = now(), held_until = now()")  # as time does
        async with everything.way() as way:
            status, body = await way.ask()
            assert (status, "has to be connected again" in body) == (403, True)
            assert everything.told() == [f"secret {NAME}", f"account {NAME}"]
            assert (await everything.connect()).status_code == 200

            async def used() -> bool:
                return (await way.ask())[0] == 200

            await everything.until(used)

    play(address, tmp_path, scenario, serves=True)
