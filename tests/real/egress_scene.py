"""A machine's way out with two hosts behind it: api.test, which a secret is bound to, and evil.test, which is denied.

Whatever a test does there, the scene then looks for what must never be: a byte or a question for evil.test that the
test did not allow, the secret's value in what was noted or logged, a failure within the gateway, an open connection.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import psutil
from tests.name_server import NameServer, name_server
from tests.real.http2_client import Answer as Http2Answer
from tests.real.http2_client import headers, http2_client

from subclaw.core.policy import Mode, Rule
from subclaw.core.quota import Quota
from subclaw.core.secret import Binding
from subclaw.egress.limits import Limits
from subclaw.egress.machines.certificates import Authority
from subclaw.egress.names.resolver import HostResolver
from subclaw.testing.egress_machine import (
    ELSEWHERE,
    MachineDoor,
    access_of,
    machine_door,
    pinned,
    upstream_authority,
)
from subclaw.testing.upstream import (
    Answer,
    Connection,
    Conversation,
    FakeUpstream,
    Seen,
    http_upstream,
    raw_upstream,
    simple,
)

SECRET = "sk-live-0123456789abcdefghij"
PLACEHOLDER = "sk-live-PLACEHOLDERxxxxxxxxx"
KEY = f"authorization: Bearer {PLACEHOLDER}\r\n".encode()
DEADLINE_S = 10.0
PROXY = ("10.0.2.2", 3128)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The way out, the hosts behind it, and who is asked for names."""

    door: MachineDoor
    api: FakeUpstream
    evil: FakeUpstream
    names: NameServer
    logs: "LogKeeper"
    authority: Authority
    """Who has signed the certificates of the hosts outside."""

    @property
    def api_host(self) -> str:
        """What a Host header says that means api.test."""
        return f"api.test:{self.api.port}"

    @property
    def evil_host(self) -> str:
        """What a Host header says that means evil.test."""
        return f"evil.test:{self.evil.port}"

    @property
    def reasons(self) -> list[str]:
        """Why something was denied, in order."""
        return [noted.reason for noted in self.door.decisions if not noted.allowed]

    def get(self, path: str = "/", *lines: str, method: str = "GET", host: str = "") -> bytes:
        """Return a whole request by HTTP/1.1 with the placeholder where the secret belongs."""
        head = f"{method} {path} HTTP/1.1\r\nHost: {host or self.api_host}\r\n".encode() + KEY
        return head + "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"

    async def ask(self, path: str = "/", *lines: str, method: str = "GET") -> bytes:
        """Make one request to api.test by HTTP/1.1, and return all that comes back."""
        return await self.door.talk(self.get(path, "Connection: close", *lines, method=method), host="api.test")

    async def ask_http2(self, path: str = "/", method: str = "GET", body: bytes | None = None) -> Http2Answer:
        """Make one request to api.test by HTTP/2 with the placeholder where the secret belongs."""
        async with http2_client(self.door, "api.test") as client:
            fields = headers(self.api_host, path, method, authorization=f"Bearer {PLACEHOLDER}")
            answer = await client.get(fields, body)
            assert SECRET.encode() not in client.received
            return answer


class LogKeeper(logging.Handler):
    """Keeps every line that is logged, to the last detail."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


async def fine(_: Seen, connection: Connection) -> None:
    """Answer that all is well."""
    await connection.write(simple(b"fine"))


async def echo_target(seen: Seen, connection: Connection) -> None:
    """Give back what was asked for."""
    await connection.write(simple(seen.target.encode()))


@asynccontextmanager
async def scene(
    answer: Answer = fine,
    *,
    conversation: Conversation | None = None,
    mute: bool = False,
    binding: Mapping[str, object] | None = None,
    rules: Sequence[Rule] = (),
    api_rules: Sequence[Mapping[str, object]] | None = None,
    port: int | None = None,
    address: str = ELSEWHERE,
    tls: bool = True,
    value: str = SECRET,
    limits: Limits | None = None,
    quota: Quota | None = None,
) -> AsyncIterator[Scene]:
    """Open the way out for a block, in which a connection seems to be to `address` and `port` (api.test's own).

    The secret is bound by `binding` to api.test, which is pinned to loopback; `api_rules` are further fields of rules
    about it. Without `tls` the hosts speak plain HTTP. api.test answers by `answer`, or does as `conversation` does; if
    it is `mute`, it does not even shake hands.
    """
    authority = upstream_authority()
    before = _connections()
    async with asyncio.timeout(DEADLINE_S), name_server() as names, _logs() as logs:
        resolver = HostResolver([names.address])
        contexts = [authority.context(host) if tls else None for host in ("api.test", "evil.test")]
        try:
            own, converse = (None, _say_nothing) if mute else (contexts[0], conversation)
            upstream = raw_upstream(converse, tls=own) if converse else http_upstream(answer, tls=own)
            async with upstream as api, http_upstream(fine, tls=contexts[1]) as evil:
                about_api = [_api_rule(api.port, fields) for fields in api_rules or [{}]]
                bound = Binding(**{"hosts": ("api.test",), "ports": (api.port,), **(binding or {})})  # type: ignore[arg-type]
                access = access_of([*about_api, *rules], {"key": (PLACEHOLDER, value, bound)})
                async with machine_door(
                    access,
                    authority,
                    port or api.port,
                    limits=limits,
                    quota=quota,
                    resolver=resolver,
                    address=address,
                ) as door:
                    yield Scene(door=door, api=api, evil=evil, names=names, logs=logs, authority=authority)
                _check(door, evil, names, logs, value)
        finally:
            await resolver.close()
    await _until_as_before(before)


async def _say_nothing(connection: Connection) -> None:
    while await connection.read():
        pass


def _api_rule(port: int, fields: Mapping[str, object]) -> Rule:
    rule = pinned("api.test", port)
    return Rule(**{**{name: getattr(rule, name) for name in ("host", "ports", "mode", "addresses")}, **fields})


def _check(door: MachineDoor, evil: FakeUpstream, names: NameServer, logs: LogKeeper, value: str) -> None:
    assert evil.connections == []
    assert not [question for question in names.questions if question[0].endswith("evil.test")]
    written = "\n".join([*map(repr, door.decisions), *logs.lines])
    assert value not in written
    assert "the gateway failed" not in written
    assert not [line for line in logs.lines if "was not served" in line or " at " in line], logs.lines
    assert door.machine.serving() == []


@asynccontextmanager
async def _logs() -> AsyncIterator[LogKeeper]:
    keeper, loggers = LogKeeper(), [logging.getLogger(name) for name in ("subclaw", "asyncio")]
    for logger in loggers:
        logger.addHandler(keeper)
        logger.setLevel(logging.DEBUG)
    try:
        yield keeper
    finally:
        for logger in loggers:
            logger.setLevel(logging.NOTSET)
            logger.removeHandler(keeper)


def _connections() -> int:
    return len(psutil.Process().net_connections("inet"))


async def _until_as_before(before: int) -> None:
    """Wait until no connection is open that was not before."""
    async with asyncio.timeout(DEADLINE_S):
        while _connections() > before:
            await asyncio.sleep(0.01)


def denied(mode: Mode = Mode.DENY, **fields: object) -> dict[str, object]:
    """Return the fields of a rule that denies something of api.test."""
    return {"mode": mode, "addresses": (), **fields}
