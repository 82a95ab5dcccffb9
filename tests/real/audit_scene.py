"""An installation for the audit of isolation: the API, a gateway and a worker as a box has them, in one process."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from nacl.signing import SigningKey

from subclaw.api.app import make_app
from subclaw.api.v1.app import PATH, make_api
from subclaw.api.v1.inside import Inside
from subclaw.app.agent_tools import agent_tools
from subclaw.app.business import customer_tailor
from subclaw.audit.installation import Installation
from subclaw.audit.report import Report
from subclaw.audit.run import audit
from subclaw.channels.registry import goes_out
from subclaw.core.agent import AgentSettings
from subclaw.core.tenant import TenantId
from subclaw.egress.control.client import gateway_client
from subclaw.egress.keys import read_public_key
from subclaw.machines.host_client import HostClient
from subclaw.models.by_name import ModelsByName
from subclaw.models.choice import DEMO
from subclaw.models.providers import audit_client
from subclaw.store.database import DatabaseAddress, Role, open_database
from subclaw.store.egress_book import StoreEgressBook
from subclaw.store.feed import StoreFeed
from subclaw.store.live import LiveFeed
from subclaw.store.secrets import placeholders
from subclaw.testing.egress import running_gateway
from subclaw.testing.serving import serving
from subclaw.tools.toolbox import BuiltInToolbox
from subclaw.turns.accounts import AccountLinks
from subclaw.turns.intake import StoreIntake
from subclaw.turns.run import Turns
from subclaw.turns.worker import work


async def audited(
    address: DatabaseAddress,
    folder: Path,
    *,
    customers: int,
    tool_files: Mapping[str, str] | None = None,
    keep: bool = False,
) -> Report:
    """Audit an installation of its own, whose log is in the folder."""
    (folder / "log").mkdir()
    with logged(folder / "log" / "all.log"):
        async with installation(address, folder, tool_files or {}) as made:
            return await audit(made, customers=customers, keep=keep, on_step=lambda _: None)


@asynccontextmanager
async def installation(
    address: DatabaseAddress, folder: Path, tool_files: Mapping[str, str]
) -> AsyncIterator[Installation]:
    """Serve one for the block."""
    (folder / "egress").mkdir()
    async with (
        open_database(address, Role.APP) as database,
        open_database(address, Role.OPERATOR, size=4) as operator,
        open_database(address, Role.EGRESS, size=4) as egress,
        running_gateway(folder / "egress", (), {}, book=StoreEgressBook(egress, address)) as socket,
        gateway_client(socket) as gateway,
        audit_client(folder / "model.sock") as models_of_audit,
        agent_tools(
            database=database,
            gateway=gateway,
            placeholders=lambda tenant_id: placeholders(database, tenant_id),
            hidden=[folder],
            clock=lambda: datetime.now(UTC),
        ) as tools,
        asyncio.TaskGroup() as group,
    ):
        model_socket, machines = folder / "model.sock", HostClient(folder / "no-host.sock")
        models = ModelsByName(DEMO, AgentSettings(), gateway, (), audit=models_of_audit)
        tailor = customer_tailor(
            database=database,
            machines=machines,
            placeholders=lambda tenant_id: placeholders(database, tenant_id),
            model_of=models.model_of,
            clock=lambda: datetime.now(UTC),
            tools_of=tools.tools_of,
        )
        feed, seal_to = StoreFeed(database, address), read_public_key(folder / "egress")
        intake = StoreIntake(database, sends=goes_out, public_url="http://localhost")

        async def destroy(tenant_id: TenantId) -> bool:
            return False

        async def no_files(tenant_id: TenantId) -> int:
            return 0

        async def no_machine(tenant_id: TenantId) -> AsyncGenerator[bytes, None]:
            for piece in list[bytes]():
                yield piece

        links = AccountLinks(database=database, public_key=seal_to, site_url=lambda name: "http://localhost/")
        inside = Inside(
            database=database,
            operator=operator,
            feed=feed,
            live=LiveFeed(database, address),
            intake=intake,
            seal_to=seal_to,
            receipts=SigningKey.generate(),
            destroy_machine=destroy,
            machine_files=no_machine,
            start_account=links.start,
            remove_files=no_files,
        )

        async def check() -> None:
            await database.rows("SELECT 1")

        app = make_app([], check=check, below={PATH: make_api(inside)})
        turns = Turns(
            database=database,
            model=models.model_of("").model,
            toolbox=BuiltInToolbox([]),
            instructions=lambda _: "",
            agent=AgentSettings(),
            sends=goes_out,
            tailor=tailor,
        )
        background = [
            group.create_task(feed.run()),
            group.create_task(work(turns, address, limit=64, closing_s=0)),
        ]
        await feed.listening.wait()
        try:
            async with serving(app) as port:
                yield Installation(
                    url=f"http://127.0.0.1:{port}",
                    address=address,
                    seal_to=seal_to,
                    model_socket=model_socket,
                    logs=(folder / "log",),
                    folders=(folder / "egress",),
                    tool_files=tool_files,
                )
                feed.end()
        finally:
            for task in background:
                task.cancel()


@contextmanager
def logged(path: Path) -> Iterator[None]:
    """Keep what is logged in a file, as the supervisor of a box does."""
    handler = logging.FileHandler(path)
    logging.getLogger("subclaw").addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger("subclaw").removeHandler(handler)
        handler.close()
