"""Accounts end to end: a provider, a database, a gateway that connects, another that has the machine, and the pages."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import httpx2
import uvloop
from nacl.public import PrivateKey
from tests.budgets import Row, owner_rows

from subclaw.api.app import make_app
from subclaw.core.channel import Address, InboundMessage
from subclaw.core.oauth import client_label
from subclaw.core.policy import Rule
from subclaw.core.secret import SealedSecret
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller
from subclaw.egress.control.client import gateway_client
from subclaw.egress.control.connect_client import connect_account
from subclaw.egress.gateway import EgressSettings, ForControl, serve_egress
from subclaw.egress.keys import ensure_key, read_private_key, read_public_key
from subclaw.egress.limits import MACHINE_LIMITS
from subclaw.egress.machines.certificates import Authority
from subclaw.egress.machines.machine import Machine
from subclaw.egress.machines.machines import Machines
from subclaw.egress.names.resolver import HostResolver
from subclaw.egress.oauth.accounts import Accounts
from subclaw.egress.outside import Outside
from subclaw.egress.seal import seal
from subclaw.handover.accounts import accounts_router
from subclaw.store import conversations
from subclaw.store.account_book import StoreAccountBook
from subclaw.store.database import Database, DatabaseAddress, Role, open_database
from subclaw.store.egress_book import StoreEgressBook
from subclaw.store.egress_rules import add_rule
from subclaw.store.oauth import save_provider
from subclaw.testing.egress_machine import served, trusting, upstream_authority
from subclaw.testing.oauth import CLIENT_SECRET, HOST, FakeProvider, running_provider
from subclaw.turns.accounts import AccountLinks

DOMAIN = "agents.test"
NAME = "TEST_ACCESS_TOKEN"
_DEADLINE_S = 20


@dataclass(frozen=True, kw_only=True)
class Way:
    """A machine's way out: one gateway process, with the machine of one tenant."""

    machine: Machine
    port: int
    accounts: Accounts
    upstream_port: int

    async def ask(self, path: str = "/api", *, body: str = "", placeholder: str = "") -> tuple[int, str]:
        """Ask the provider's API as a program on the machine does; return the status and the body.

        The status is 0 if the connection was cut, as all are when another account is connected.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.machine.authority.pem)
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=context, server_hostname=HOST)
        try:
            host = f"{HOST}:{self.upstream_port}"
            own = f"authorization: Bearer {placeholder}\r\n" if placeholder else ""
            head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\n{own}content-length: {len(body)}\r\n\r\n{body}"
            writer.write(head.encode())
            answer = await reader.readuntil(b"\r\n\r\n")
            length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            return int(answer.split(b" ", 2)[1]), (await reader.readexactly(length)).decode()
        except (asyncio.IncompleteReadError, ConnectionError):
            return 0, ""
        finally:
            writer.close()


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything, and a tenant with a conversation."""

    address: DatabaseAddress
    provider: FakeProvider
    authority: Authority
    operator: Database
    app: Database
    egress: Database
    key: PrivateKey
    web: httpx2.AsyncClient
    caller: Caller
    links: AccountLinks
    calls: list[int] = field(default_factory=list)

    @property
    def tenant_id(self) -> TenantId:
        """The tenant."""
        return self.caller.tenant_id

    async def link(self) -> str:
        """Ask for a link as the agent does."""
        self.calls.append(len(self.calls))
        return await self.links.start(replace(self.caller, call_id=f"call_{len(self.calls)}"), "test")

    async def get(self, url: str) -> httpx2.Response:
        """Do what the person's browser does with an address of ours."""
        return await self.web.get(url)

    async def consent(self) -> str:
        """Ask for a link and follow it as a person who agrees; return the address that leads back."""
        link = await self.link()
        to_provider = await self.get(link)
        assert to_provider.status_code == 303, to_provider.text
        return self.provider.consent(to_provider.headers["location"])

    async def connect(self) -> httpx2.Response:
        """Connect an account."""
        return await self.get(await self.consent())

    @asynccontextmanager
    async def way(self) -> AsyncIterator[Way]:
        """Run a process of the gateway, with the tenant's machine."""
        resolver = HostResolver()
        outside = Outside(resolver=resolver, tls=trusting(self.authority))
        accounts = Accounts(key=self.key, book=StoreAccountBook(self.egress), outside=outside)
        machines = Machines(
            key=self.key,
            book=StoreEgressBook(self.egress, self.address),
            accounts=accounts,
            outside=outside,
            limits=MACHINE_LIMITS,
            starter=(),
        )
        keeping = asyncio.create_task(machines.keep())
        try:
            async with machines.opened(self.tenant_id) as machine, served(machine, self.provider.port) as port:
                yield Way(machine=machine, port=port, accounts=accounts, upstream_port=self.provider.port)
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await accounts.close()
            await resolver.close()

    def rows(self, query: str) -> list[Row]:
        """Return rows as the database's owner sees them."""
        return owner_rows(self.address, query)

    def told(self) -> list[str]:
        """Return what the agent is told besides the first message: kinds and names."""
        query = "SELECT split_part(provider_id, ':', 1), text::jsonb ->> 'name' FROM inbox WHERE seq > 1 ORDER BY seq"
        return [f"{kind} {name}" for kind, name in self.rows(query)]

    async def until(self, done: Callable[[], Awaitable[bool]]) -> None:
        """Wait for something that comes by itself."""
        while not await done():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def scene(
    address: DatabaseAddress, folder: Path, settings: Mapping[str, object] | None = None, *, serves: bool = True
) -> AsyncIterator[Scene]:
    """Put everything up, but the process that the control plane speaks to unless it `serves`.

    `settings` are the provider's. The authority that its certificate is of is in `folder`, as `authority.pem`.
    """
    ensure_key(folder, os.getuid(), os.getgid())
    key, authority = read_private_key(folder), upstream_authority()
    async with AsyncExitStack() as stack:
        operator = await stack.enter_async_context(open_database(address, Role.OPERATOR, size=1))
        app = await stack.enter_async_context(open_database(address, Role.APP, size=2))
        egress = await stack.enter_async_context(open_database(address, Role.EGRESS, size=4))
        provider = await stack.enter_async_context(running_provider(authority, **(settings or {})))
        gateway = await stack.enter_async_context(gateway_client(folder / "egress.sock"))
        await add_rule(operator, _pinned(provider), tenant_id=None, created_by="operator")
        sealed = seal(read_public_key(folder), CLIENT_SECRET, client_label("test"))
        await save_provider(operator, provider.provider(), sealed)
        (folder / "authority.pem").write_text(authority.pem)
        if serves:
            await stack.enter_async_context(serving(folder, StoreAccountBook(egress), trusting(authority)))
        routes = [accounts_router("subclaw", app, partial(connect_account, gateway))]
        transport = httpx2.ASGITransport(app=make_app(routes, check=partial(app.rows, "SELECT 1")))
        web = await stack.enter_async_context(httpx2.AsyncClient(transport=transport))
        public_key = read_public_key(folder)
        yield Scene(
            address=address,
            provider=provider,
            authority=authority,
            operator=operator,
            app=app,
            egress=egress,
            key=key,
            web=web,
            caller=await _caller(app),
            links=AccountLinks(database=app, public_key=public_key, site_url=lambda name: f"http://{name}.{DOMAIN}/"),
        )


def play(
    address: DatabaseAddress, folder: Path, scenario: Callable[[Scene], Awaitable[None]], **settings: object
) -> None:
    """Run a scenario, with a limit of time."""

    async def bounded() -> None:
        async with asyncio.timeout(_DEADLINE_S), scene(address, folder, settings) as everything:
            await scenario(everything)

    uvloop.run(bounded())


def _pinned(provider: FakeProvider) -> Rule:
    return Rule(host=HOST, ports=(provider.port,), addresses=("127.0.0.1",), paths=("/none",))


async def _caller(app: Database) -> Caller:
    message = InboundMessage(
        sender=Address(channel="web", address="a"), provider_id="1", text="hello", received_at=datetime.now(UTC)
    )
    receipt = await conversations.receive(app, message, ["quiet-otter"])
    return Caller(
        tenant_id=receipt.tenant_id, conversation_id=receipt.conversation_id, call_id="call_0", turn_id="call_0"
    )


@asynccontextmanager
async def serving(folder: Path, book: StoreAccountBook, tls: ssl.SSLContext) -> AsyncIterator[None]:
    """Serve the part of the gateway that the control plane speaks to."""

    async def none() -> Sequence[SealedSecret]:
        return ()

    socket = folder / "egress.sock"
    control = ForControl(socket_path=socket, socket_gid=os.getgid(), upstreams=(), load_secrets=none)
    settings = EgressSettings(key_folder=folder, control=control, accounts=book, ssl_context=tls)
    async with asyncio.TaskGroup() as group:
        gateway = group.create_task(serve_egress(settings))
        while not socket.exists() and not gateway.done():
            await asyncio.sleep(0.01)
        try:
            yield
        finally:
            gateway.cancel()
