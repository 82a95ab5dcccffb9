"""How Caddy is started: its command, its folders, what must be free before, and what its last words mean."""

import asyncio
import errno
import json
import os
import re
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from subclaw.core.errors import Denied, SubclawError, Unavailable
from subclaw.routes.admin import ask
from subclaw.routes.config import CaddySettings, base_config

_POLL_S = 0.02
_MIGRATE = Path("/proc/sys/net/ipv4/tcp_migrate_req")


@dataclass(frozen=True, kw_only=True)
class CaddyCommand:
    """What the supervisor starts. `umask` leaves the admin socket to its owner and group: mode 0770."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    umask: int = 0o007


def caddy_command(settings: CaddySettings, *, program: str = "/usr/bin/caddy") -> CaddyCommand:
    """Return how Caddy is started, after `write_caddy_files`. It runs in the foreground, and ends on SIGTERM.

    Errors: `Unavailable` if it is not installed.
    """
    if not shutil.which(program):
        raise Unavailable("Caddy is not installed. Install it with: apt-get install caddy")
    state = settings.state
    environment = {"HOME": str(state), "XDG_DATA_HOME": str(state / "data"), "XDG_CONFIG_HOME": str(state / "config")}
    argv = (program, "run", "--config", str(config_file(settings)))
    return CaddyCommand(argv=argv, environment=environment, folder=state)


def config_file(settings: CaddySettings) -> Path:
    """Return where Caddy's first configuration lies. It holds no secret."""
    return settings.state / "caddy.json"


def write_caddy_files(settings: CaddySettings, *, user_id: int, group_id: int) -> None:
    """Make Caddy's folders and its configuration file.

    `user_id` is Caddy's; `group_id` is the group whose members may use the admin API, which is all that guards it. The
    admin folder is Caddy's and sets its group on the socket, which `CaddyCommand.umask` opens to that group alone.
    Errors: `Unavailable` in words, if the folders cannot be written.
    """
    try:
        for folder, mode in ((settings.state, 0o750), (settings.admin_socket.parent, 0o2750)):
            folder.mkdir(parents=True, exist_ok=True)
            os.chown(folder, user_id, group_id)
            folder.chmod(mode)
        file = config_file(settings)
        written = file.with_suffix(".new")
        written.write_text(json.dumps(base_config(settings), indent=1) + "\n")
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
    for address in settings.listen or ("",):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((address, settings.port))
                listener.listen(1)
            except OSError as error:
                raise _port_error(error, settings.port) from error


def _port_error(error: OSError, port: int) -> SubclawError:
    if error.errno == errno.EADDRINUSE:
        return _port_in_use(port)
    if error.errno == errno.EACCES:
        return _port_denied(port)
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


def _port_in_use(port: int) -> Unavailable:
    return Unavailable(f"Port {port} is in use by another program: set SUBCLAW_PORT to a free one.")


def _port_denied(port: int) -> Denied:
    return Denied(f"Port {port} may not be used without root: set SUBCLAW_PORT to one from 1024 up.")


def spare_waiting_connections() -> bool:
    """Have the kernel hand connections that a closing listener has not accepted yet to its successor (Linux 5.14).

    Caddy opens its port anew at every change of a route, next to the old listener (`SO_REUSEPORT`), and closes that;
    without this, whoever connects in the same instant is reset. Needs root, holds for the whole network namespace, and
    concerns nobody but programs that share a port in that way. Returns whether it is so now.
    """
    try:
        if _MIGRATE.read_text().strip() != "1":
            _MIGRATE.write_text("1\n")
    except OSError:
        return False
    return True


async def wait_ready(admin_socket: Path, *, timeout_s: float = 10.0) -> None:
    """Wait until Caddy serves its configuration. Errors: `Unavailable` when the time is over."""
    try:
        async with asyncio.timeout(timeout_s):
            while not await _ready(admin_socket):  # noqa: ASYNC110 - another process's state is asked for, not ours
                await asyncio.sleep(_POLL_S)
    except TimeoutError as error:
        raise Unavailable(f"The web server (Caddy) was not ready within {timeout_s:g} s.") from error


async def _ready(admin_socket: Path) -> bool:
    try:
        return (await ask(admin_socket, "GET", "/id/control/terminal", timeout_s=2.0)).status == 200
    except Unavailable:
        return False
