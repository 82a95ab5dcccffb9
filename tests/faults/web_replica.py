"""The web process of the tests: the real doors of the web chat and of text messages, on a port of loopback."""

import asyncio
import functools
from collections.abc import Mapping
from dataclasses import dataclass

from tests.faults.forked import run_process
from tests.faults.replica import TOKEN

from subclaw.api.app import make_app
from subclaw.channels.sms.inbound import sms_router
from subclaw.channels.web.inbound import web_router
from subclaw.store.database import DatabaseAddress, Role, open_database
from subclaw.store.feed import StoreFeed
from subclaw.store.outbox import StoreReports
from subclaw.testing.channels.twilio import sign
from subclaw.testing.serving import serving
from subclaw.turns.intake import StoreIntake

PUBLIC_URL = "http://storm.example"


@dataclass(frozen=True, kw_only=True)
class WebReplica:
    """What a process is told."""

    address: DatabaseAddress
    port: int


def serve_web(replica: WebReplica, log: str) -> None:
    """Serve until killed, or until the database is lost. What it says goes to the file `log`."""
    run_process(_serve(replica), log)


async def _serve(replica: WebReplica) -> None:
    async with open_database(replica.address, Role.APP) as database:
        intake = StoreIntake(database, sends=lambda channel: channel == "sms", public_url=PUBLIC_URL)
        feed = StoreFeed(database, replica.address)
        routers = [
            web_router(intake=intake, feed=feed, title="storm", public_url=PUBLIC_URL),
            sms_router(
                intake=intake, reports=StoreReports(database), check_signature=_is_signed, public_url=PUBLIC_URL
            ),
        ]
        app = make_app(routers, check=functools.partial(database.rows, "SELECT 1"))
        async with serving(app, port=replica.port):
            await feed.run()


async def _is_signed(url: str, params: Mapping[str, str], signature: str) -> bool:
    await asyncio.sleep(0)
    return signature == sign(TOKEN, url, params)
