"""The worker process of the tests: turns, replies and reminders, whose model and tools are those of `obedient`.

`python -m tests.faults.replica SETTINGS` runs one as a program of its own.
"""

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import count, groupby
from operator import attrgetter
from pathlib import Path

from tests.faults.findings import until_at_rest
from tests.faults.forked import run_process
from tests.faults.obedient import ObedientModel, Trace, tracing_tools

from subclaw.channels.sms.channel import SmsChannel
from subclaw.channels.sms.twilio_client import twilio_client
from subclaw.core import fault
from subclaw.core.agent import AgentSettings
from subclaw.core.channel import Address, InboundMessage
from subclaw.core.delivery import DeliveryTimes
from subclaw.core.fault import FaultPoint
from subclaw.machines.host_client import HostClient
from subclaw.schedules.reminders import keep_time
from subclaw.store.database import Database, DatabaseAddress, Role, open_database
from subclaw.store.schedules import StoreSchedules
from subclaw.store.secrets import placeholders
from subclaw.tools.machine import machine_tools
from subclaw.tools.schedule import schedule_tools
from subclaw.tools.toolbox import BuiltInToolbox
from subclaw.turns import worker
from subclaw.turns.intake import StoreIntake
from subclaw.turns.outbox import deliver
from subclaw.turns.run import Turns

ACCOUNT = "AC" + "0123456789abcdef" * 2
TOKEN = "the-token-of-the-tests"
NUMBER = "+15550100002"
TIMES = DeliveryTimes(ask_after_s=(0.15, 0.3), untold_s=0.1, hold_s=30, tick_s=0.02)
"""When the provider is asked what became of a reply: soon, since the one of the tests knows at once."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """A message that somebody sends. `id` is the provider's; with `meanwhile` it is sent by the tool `interject`."""

    id: str
    channel: str
    address: str
    text: str
    meanwhile: bool = False


@dataclass(frozen=True, kw_only=True)
class Replica:
    """What a process is told. It hands in what is said itself, and kills itself at the `dies_at`th fault point.

    With a `machine_socket` it has the tools of machines, whose host is another process.
    """

    database_url: str
    private: bool
    trace: str
    twilio_url: str
    machine_socket: str = ""
    think_s: float = 0.0
    said: Sequence[Said] = ()
    dies_at: int | None = None

    @property
    def address(self) -> DatabaseAddress:
        """Where the database is."""
        return DatabaseAddress(url=self.database_url, private=self.private)


def serve(replica: Replica, log: str = "") -> None:
    """Work until killed, or until the database is lost. What it says goes to the file `log`."""
    run_process(_work(replica), log)


def serve_to_the_end(replica: Replica) -> None:
    """Hand in what is said, and work until nothing is left to be done.

    What the dead held is looked for often, since hundreds of these run one after the other.
    """
    worker.REAP_INTERVAL_S = 0.02
    if replica.dies_at is not None:
        fault.install(_dying_at(replica.dies_at, Trace(path=Path(replica.trace))))
    run_process(_work(replica, end=_everything_is_done))


def _dying_at(number: int, trace: Trace) -> Callable[[FaultPoint], None]:
    reached = count(1)

    def die(point: FaultPoint) -> None:
        trace.note("reached", point)
        if next(reached) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return die


End = Callable[[Replica, Database], Awaitable[None]]


async def _work(replica: Replica, end: End | None = None) -> None:
    """Run turns, send replies and keep time, until the end."""
    address, trace = replica.address, Trace(path=Path(replica.trace))
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(address, Role.APP))
        twilio = await stack.enter_async_context(
            twilio_client(account_sid=ACCOUNT, auth_token=TOKEN, base_url=replica.twilio_url)
        )
        channels = {"sms": SmsChannel(client=twilio, from_number=NUMBER)}
        machines = HostClient(Path(replica.machine_socket))
        if replica.machine_socket:
            await stack.enter_async_context(machines)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        running = [
            group.create_task(worker.work(_turns(replica, database, trace, machines), address, limit=64)),
            group.create_task(deliver(database, address, channels, times=TIMES)),
            group.create_task(keep_time(database, address, read_in_place=["web"])),
        ]
        if end is not None:
            await end(replica, database)
            for task in running:
                task.cancel()


def _turns(replica: Replica, database: Database, trace: Trace, machines: HostClient) -> Turns:
    async def interject() -> None:
        for said in replica.said:
            if said.meanwhile:
                await _hand_in(database, trace, said)

    tools = [*tracing_tools(trace, interject), *schedule_tools(StoreSchedules(database), lambda: datetime.now(UTC))]
    if replica.machine_socket:
        tools += machine_tools(machines, machines, partial(placeholders, database))
    return Turns(
        database=database,
        model=ObedientModel(trace, lambda: random.uniform(0, 2 * replica.think_s)),
        toolbox=BuiltInToolbox(tools),
        agent=AgentSettings(),
        instructions=lambda _: "do what you are told",
        sends=lambda channel: channel == "sms",
    )


async def _everything_is_done(replica: Replica, database: Database) -> None:
    trace = Trace(path=Path(replica.trace))
    spontaneous = [said for said in replica.said if not said.meanwhile]
    async with asyncio.TaskGroup() as group:
        for _, of_one in groupby(spontaneous, key=attrgetter("address")):
            group.create_task(_hand_in_all(database, trace, list(of_one)))
    await until_at_rest(replica.address)


async def _hand_in_all(database: Database, trace: Trace, messages: Sequence[Said]) -> None:
    """Send one person's messages, each after the one before is acknowledged; those that were once, not again."""
    for said in messages:
        if said.id not in trace.noted("acknowledged"):
            await _hand_in(database, trace, said)


async def _hand_in(database: Database, trace: Trace, said: Said) -> None:
    sender = Address(channel=said.channel, address=said.address)
    message = InboundMessage(sender=sender, provider_id=said.id, text=said.text, received_at=datetime.now(UTC))
    await StoreIntake(database, sends=lambda _: False, public_url="http://localhost").receive(message)
    trace.note("acknowledged", said.id)


def program(replica: Replica) -> list[str]:
    """Return the command that runs a replica as a program."""
    return [sys.executable, "-m", "tests.faults.replica", json.dumps(asdict(replica))]


if __name__ == "__main__":
    serve(Replica(**json.loads(sys.argv[1])))
