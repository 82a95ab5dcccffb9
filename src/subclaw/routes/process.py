"""How Caddy is started: its command, its folders, what must be free before, and what its last words mean."""

import asyncio
import errno
import itertools
import json
import os
import re
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from subclaw.core.errors import Denied, SubclawError, Unavailable
from subclaw.routes.config import CaddySettings, caddy_config

_POLL_S = 0.02


@dataclass(frozen=True, kw_only=True)
class CaddyCommand:
    """What the supervisor starts."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path


def caddy_command(settings: CaddySettings, *, program: str = "/usr/bin/caddy") -> CaddyCommand:
    """Return how Caddy is started, after `write_caddy_files`. It runs in the foreground, and ends on SIGTERM.

    Errors: `Unavailable` if it is not installed.
    """
    if not shutil.which(program):
        raise Unavailable("Caddy is not installed. Install it with: apt-get install caddy")
    state = settings.state
    # Garbage is collected less often than Go does by itself, whose heap here is a few megabytes: a tenth of the work.
    environment = {
        "GOGC": "400",
        "HOME": str(state),
        "XDG_DATA_HOME": str(state / "data"),
        "XDG_CONFIG_HOME": str(state / "config"),
    }
    argv = (program, "run", "--config", str(config_file(settings)))
    return CaddyCommand(argv=argv, environment=environment, folder=state)


def config_file(settings: CaddySettings) -> Path:
    """Return where Caddy's first configuration lies. It holds no secret."""
    return settings.state / "caddy.json"


def write_caddy_files(settings: CaddySettings, *, user_id: int, group_id: int) -> None:
    """Make Caddy's folder and its configuration file, for the user and the group that it runs as.

    Errors: `Unavailable` in words, if the folder cannot be written.
    """
    try:
        settings.state.mkdir(parents=True, exist_ok=True)
        os.chown(settings.state, user_id, group_id)
        settings.state.chmod(0o750)
        file = config_file(settings)
        written = file.with_suffix(".new")
        written.write_text(json.dumps(caddy_config(settings), indent=1) + "\n")
        os.chown(written, user_id, group_id)
        written.chmod(0o640)
        written.replace(file)
    except OSError as error:
        raise Unavailable(f"The web server's folder {settings.state} cannot be written: {error.strerror}.") from error


def check_port(settings: CaddySettings) -> None:
    """Check that the port is free, before Caddy is started.

    Caddy itself would share it: it sets `SO_REUSEPORT`, so two of one user would each get some of the visitors.
    Errors: `Unavailable` or `Denied`, each with what to do.
    """
    https = settings.https
    ports = {settings.port: "SUBCLAW_PORT"}
    if https is not None:
        ports = {https.port: "SUBCLAW_HTTPS_PORT", https.http_port: "SUBCLAW_HTTP_PORT"}
    for address, (port, variable) in itertools.product(settings.listen or ("",), ports.items()):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((address, port))
                listener.listen(1)
            except OSError as error:
                raise _port_error(error, port, variable) from error


def _port_error(error: OSError, port: int, variable: str) -> SubclawError:
    if error.errno == errno.EADDRINUSE:
        return _port_in_use(port, variable)
    if error.errno == errno.EACCES:
        return _port_denied(port, variable)
    return Unavailable(f"The web server cannot listen on port {port}: {error.strerror}.")


def explain_end(stderr: str, settings: CaddySettings) -> SubclawError:
    """Turn what Caddy wrote before it ended into words for the operator."""
    if re.search(r"listen(ing)? .*address already in use", stderr):
        return _port_in_use(settings.port)
    if re.search(r"listen(ing)? .*permission denied", stderr):
        return _port_denied(settings.port)
    lines = [line for line in stderr.splitlines() if line.strip()]
    last = lines[-1][:300] if lines else "it wrote nothing"
    return Unavailable(f"The web server (Caddy) ended at once: {last}")


def _port_in_use(port: int, variable: str = "SUBCLAW_PORT") -> Unavailable:
    return Unavailable(f"Port {port} is in use by another program: set {variable} to a free one.")


def _port_denied(port: int, variable: str = "SUBCLAW_PORT") -> Denied:
    return Denied(f"Port {port} may not be used without root: set {variable} to one from 1024 up.")


async def wait_ready(settings: CaddySettings, *, timeout_s: float = 10.0) -> None:
    """Wait until Caddy takes connections. Errors: `Unavailable` when the time is over."""
    try:
        async with asyncio.timeout(timeout_s):
            while not await _takes_connections(settings):  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(_POLL_S)
    except TimeoutError as error:
        raise Unavailable(f"The web server (Caddy) was not ready within {timeout_s:g} s.") from error


async def _takes_connections(settings: CaddySettings) -> bool:
    listen, port = settings.listen[0] if settings.listen else "", settings.port
    if settings.https is not None:
        port = settings.https.port
    try:
        _, writer = await asyncio.open_connection(local_address(listen), port)
    except OSError:
        return False
    writer.close()
    return True


def local_address(listen: str) -> str:
    """Return the address at which this host itself reaches what listens at an address."""
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen, listen)
