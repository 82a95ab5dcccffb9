"""A real box for tests: `subclaw up` in a state folder of its own, and the people who talk to it through its router."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2
import psutil
import psycopg
from tests.real.machines import eventually

from subclaw.channels.web.client import WebPerson, web_person
from subclaw.core.errors import Unavailable
from subclaw.core.tenant import TenantId
from subclaw.home import Home
from subclaw.machines.host_client import HostClient
from subclaw.machines.qemu.processes import name_prefix
from subclaw.store.cluster import private_address
from subclaw.store.database import Role

START_S = 180.0
STOP_S = 60.0
REPLY_S = 90.0
VISIT_LIMIT_S = 60.0
NAMES = ("egress", "host", "web", "caddy", "worker", "postgres")
OPERATORS = ("SUBCLAW_", "OPENAI_", "ANTHROPIC_", "GOOGLE_", "TWILIO_", "DATABASE_URL")
T = TypeVar("T")

OPEN_TO_ALL = """
[onboarding]
greet = false
prepare_machine = false
new_tenants_an_hour = 1000000
[limits]
messages_per_minute = 100000
burst = 10000
strangers_per_minute = 1000000
"""

HOMES: set[Path] = set()
"""The state folders of this run."""


@dataclass(frozen=True, kw_only=True)
class RunningBox:
    """A box that serves. `said` is the file with what `subclaw up` printed."""

    process: subprocess.Popen[bytes]
    home: Path
    port: int
    said: Path

    @property
    def url(self) -> str:
        """Where the router is."""
        return f"http://127.0.0.1:{self.port}"

    def children(self) -> dict[str, psutil.Process]:
        """Return the processes that the supervisor keeps, by name."""
        return {name_of(child): child for child in psutil.Process(self.process.pid).children() if name_of(child)}

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Ask the box's private database, as its owner."""
        address = private_address(Home(self.home).database_socket_folder)
        with psycopg.connect(address.conninfo(Role.OWNER)) as connection:
            return connection.execute(query.encode(), parameters).fetchall()

    def use_host(self, scenario: Callable[[HostClient], Awaitable[T]]) -> T:
        """Run a scenario with a client of the host's API."""

        async def with_client() -> T:
            async with HostClient(Home(self.home).host_socket) as client:
                return await scenario(client)

        return asyncio.run(with_client())

    def tenant_that_said(self, text: str) -> TenantId:
        """Return whose message this was."""
        ((tenant_id,),) = self.rows("SELECT DISTINCT tenant_id FROM inbox WHERE text = %s", text)
        return TenantId(tenant_id)

    def turn(self, said: str) -> list[tuple[str, dict[str, Any]]]:
        """Return the events of the turn in which a text was said, from its start up to the next one's."""
        ((conversation_id, before),) = self.rows(
            "SELECT e.conversation_id, count(*) FROM event e JOIN event said USING (conversation_id)"
            " WHERE said.type = 'message.received' AND said.body ->> 'text' = %s"
            " AND e.type = 'turn.started' AND e.seq < said.seq GROUP BY 1",
            said,
        ) or [(0, 0)]
        events = self.rows("SELECT type, body FROM event WHERE conversation_id = %s ORDER BY seq", conversation_id)
        starts = [index for index, (kind, _) in enumerate(events) if kind == "turn.started"]
        return [(kind, body) for kind, body in events[starts[before - 1] : [*starts, None][before]]] if before else []

    def stop(self) -> None:
        """Stop it as an operator does."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(STOP_S) == 0


def processes_of(homes: Iterable[Path]) -> list[psutil.Process]:
    """Return every process of a box on these state folders, whoever its parent is by now: all are told where that is.

    QEMU is not, but carries a name that is made of it.
    """
    marks = [mark for home in homes for mark in (str(home), name_prefix(home))]
    found = []
    for process in psutil.process_iter():
        try:
            told = [*process.cmdline(), process.environ().get("SUBCLAW_HOME", "")]
        except psutil.Error:  # it has just ended, or is a zombie
            continue
        if process.pid != os.getpid() and any(mark in text for mark in marks for text in told):
            found.append(process)
    return found


def name_of(child: psutil.Process) -> str:
    """Return which of a box's processes this is; nothing if it is none, or not yet."""
    try:
        command = child.cmdline()
    except psutil.Error:
        return ""
    if command[1:4] == ["-m", "subclaw", "serve"]:
        return "-".join([command[4], *(str(int(number) + 1) for number in command[6:])])
    program = Path(command[0]).name if command else ""
    return program if program in NAMES else ""


def environment(home: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a box: nothing of whoever runs the tests but the cache, and these settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OPERATORS)}
    cache = {name: os.environ[name] for name in ("SUBCLAW_CACHE",) if name in os.environ}
    return {**kept, **cache, "PYTHONUNBUFFERED": "1", "SUBCLAW_HOME": str(home), **settings}


@contextmanager
def state_folder() -> Iterator[Path]:
    """Make a state folder that every user of the system can enter, with a short path; remove it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="sc-", dir="/tmp"))
    folder.chmod(0o755)
    HOMES.add(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # whoever still wrote there has failed the test already
        folder.with_suffix(".said").unlink(missing_ok=True)


def write_agent_file(home: Path, text: str) -> None:
    """Write the operator's settings of the agent into a state folder."""
    (home / "agent.toml").write_text(text)


@contextmanager
def running_box(home: Path, **settings: str) -> Iterator[RunningBox]:
    """Run a box on a state folder, and stop it at the end unless that was done.

    Strangers are let in as they come, what they hear first is the agent, and all may say as much as they like, unless
    the folder says otherwise.
    """
    if not (home / "agent.toml").exists():
        write_agent_file(home, OPEN_TO_ALL)
    said = home.with_suffix(".said")
    with said.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "subclaw", "up"],
            env=environment(home, settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
        )
    try:
        wait_until_up(process, said)
        box = RunningBox(process=process, home=home, port=int((home / "port").read_text()), said=said)
        yield box
        if process.poll() is None:
            box.stop()
    finally:
        process.kill()
        process.wait()


def wait_until_up(process: subprocess.Popen[bytes], said: Path) -> None:
    """Wait until `subclaw up` says that it serves."""
    deadline = time.monotonic() + START_S
    while "Ctrl-C stops" not in said.read_text():
        assert process.poll() is None, said.read_text()
        assert time.monotonic() < deadline, f"the box did not come up: {said.read_text()}"
        time.sleep(0.05)


@dataclass(kw_only=True)
class Somebody:
    """One person over many visits to the web chat, also across a restart of the box."""

    cookies: dict[str, str] = field(default_factory=dict)
    seen: int = 0

    @asynccontextmanager
    async def at(self, box: RunningBox) -> AsyncIterator[WebPerson]:
        """Open the web chat, and read on from where the last visit ended."""
        async with web_person(box.url, cookies=self.cookies) as person:
            person.seen = self.seen
            yield person
            self.cookies, self.seen = person.cookies, person.seen

    def ask(self, box: RunningBox, *texts: str) -> list[str]:
        """Say these, each after the reply to the one before, and return the replies."""

        async def scenario() -> list[str]:
            async with self.at(box) as person:
                return [await exchange(person, text) for text in texts]

        return asyncio.run(scenario())


async def exchange(person: WebPerson, text: str) -> str:
    """Say something and return the reply."""
    await person.say(text)
    return await next_reply(person)


async def next_reply(person: WebPerson) -> str:
    """Return the agent's next words, whatever breaks off meanwhile: a page connects again, and so does this."""
    async with asyncio.timeout(REPLY_S):
        while True:
            try:
                return await person.reply()
            except Unavailable:
                await asyncio.sleep(0.05)


def ask(box: RunningBox, *texts: str) -> list[str]:
    """Be somebody new, say these, each after the reply to the one before, and return the replies."""
    return Somebody().ask(box, *texts)


def visit(box: RunningBox, url: str) -> httpx2.Response:
    """Visit a page through the router, as anybody's browser does."""
    parts = urlsplit(url)
    with httpx2.Client(trust_env=False, timeout=VISIT_LIMIT_S) as client:
        return client.get(f"{box.url}{parts.path}", headers={"Host": parts.netloc})


def wait_for(condition: Callable[[], object], complaint: str, *, timeout_s: float = 30.0) -> None:
    """Wait until a condition holds."""
    eventually(condition, complaint, timeout_s=timeout_s)
