"""A real Caddy for tests: started as the supervisor starts it, with the rights of nobody where the tests have root."""

import asyncio
import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h11

from subclaw.routes.config import CaddySettings
from subclaw.routes.folders import FolderRoutes
from subclaw.routes.https import CaddyHttps
from subclaw.routes.process import caddy_command, check_port, wait_ready, write_caddy_files
from subclaw.testing.serving import free_port

NOBODY = 65534


@dataclass(kw_only=True)
class RunningCaddy:
    """Caddy, its folder (short enough for sockets, open to its user), and the client of its routes."""

    folder: Path
    settings: CaddySettings
    routes: FolderRoutes
    process: asyncio.subprocess.Process | None = None
    errors: Path = field(init=False)

    def __post_init__(self) -> None:
        self.errors = self.folder / "stderr"

    async def start(self) -> None:
        user = NOBODY if os.getuid() == 0 else None
        write_caddy_files(self.settings, user_id=user or os.getuid(), group_id=user or os.getgid())
        check_port(self.settings)
        command = caddy_command(self.settings)
        with self.errors.open("ab") as errors:
            self.process = await asyncio.create_subprocess_exec(
                *command.argv,
                env=dict(command.environment),
                cwd=command.folder,
                stderr=errors,
                user=user,
                group=user,
                extra_groups=None if user is None else [],
            )
        await wait_ready(self.settings, timeout_s=15)

    async def kill(self) -> None:
        if self.process and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def get(self, hostname: str, target: str = "/", **more: Any) -> "Answer":
        return await get(self.settings.port, hostname, target, **more)

    async def shows(self, hostname: str, text: str = "", *, status: int = 200) -> None:
        """Visit until a site shows what it should."""
        async with asyncio.timeout(5):
            while True:
                with contextlib.suppress(ConnectionResetError):
                    answer = await self.get(hostname)
                    if answer.status == status and text in answer.text:
                        return


@contextlib.asynccontextmanager
async def running_caddy(
    *, domain: str = "localhost", sites_domain: str = "localhost", https: Callable[[Path], CaddyHttps] | None = None
) -> AsyncIterator[RunningCaddy]:
    folder = _short_folder()
    settings = CaddySettings(
        domain=domain,
        sites_domain=sites_domain,
        port=free_port(),
        control_socket=folder / "control.sock",
        state=folder / "state",
        sites=folder / "sites",
        doors=folder / "doors",
        https=https and https(folder),
    )
    for place in (settings.sites, settings.doors):
        place.mkdir(mode=0o755)
    routes = FolderRoutes(settings.sites, doors=settings.doors)
    caddy = RunningCaddy(folder=folder, settings=settings, routes=routes)
    try:
        await caddy.start()
        yield caddy
    finally:
        await caddy.kill()
        shutil.rmtree(folder)


def _short_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="caddy-"))
    folder.chmod(0o755)
    return folder


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes
    lines: Sequence[tuple[str, str]] = ()

    def every(self, name: str) -> list[str]:
        """Return what each header of a name says, if it came more than once."""
        return [value for other, value in self.lines if other == name]

    @property
    def text(self) -> str:
        return self.body.decode()


async def get(
    port: int,
    hostname: str,
    target: str = "/",
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> Answer:
    """Make one request with the target as it is written: no client tidies it up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        lines = {"Host": hostname, "Connection": "close", "Content-Length": str(len(body)), **(headers or {})}
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        writer.write(head.encode() + b"\r\n" + body)
        async with asyncio.timeout(20):
            return parse_answer(method, await reader.read())
    finally:
        writer.close()


def parse_answer(method: str, raw: bytes) -> Answer:
    if not raw:
        raise ConnectionResetError("closed before an answer")
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(raw)
    connection.receive_data(b"")
    response = connection.next_event()
    assert isinstance(response, h11.Response)
    body = bytearray()
    while isinstance(event := connection.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    lines = [(name.decode(), value.decode()) for name, value in response.headers]
    return Answer(status=response.status_code, headers=dict(lines), body=bytes(body), lines=lines)


def log_lines(caddy: RunningCaddy) -> list[dict[str, Any]]:
    return [json.loads(line) for line in caddy.errors.read_text().splitlines() if line.startswith("{")]
