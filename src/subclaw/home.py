"""The state folder: what lies where, who owns it, and the port that this folder's router has."""

import fcntl
import grp
import os
import pwd
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from subclaw.accounts import CADDY_USER, CONTROL_USER, DATABASE_USER, EGRESS_USER
from subclaw.core.errors import Conflict, Denied, Unavailable

FREE_BYTES = 500 * 1024 * 1024
"""Least free disk to start with: below it a full disk would stop the database in the middle of somebody's turn."""


@dataclass(frozen=True)
class Home:
    """The state folder."""

    path: Path

    @property
    def database(self) -> Path:
        """The private cluster's data."""
        return self.path / "db" / "data"

    @property
    def database_socket_folder(self) -> Path:
        """Where the private cluster listens."""
        return self.path / "run" / "db"

    @property
    def keys(self) -> Path:
        """The egress gateway's key pair."""
        return self.path / "egress"

    @property
    def egress_socket(self) -> Path:
        """Where the control plane reaches the gateway."""
        return self.path / "run" / "egress" / "gateway.sock"

    def egress_machine_sockets(self, count: int) -> tuple[Path, ...]:
        """Return where the machine host hands machines to the gateway's processes, of which there are `count`."""
        return tuple(self.egress_socket.with_name(f"machines-{number}.sock") for number in range(count))

    @property
    def completions_socket(self) -> Path:
        """Where the gateway reaches the control plane for machines that ask a model."""
        return self.path / "run" / "completions" / "completions.sock"

    @property
    def audit_socket(self) -> Path:
        """Where the control plane reaches the model of an audit of isolation, while one runs."""
        return self.path / "run" / "audit" / "model.sock"

    @property
    def agent_file(self) -> Path:
        """The operator's settings of the agent, if there are any."""
        return self.path / "agent.toml"

    @property
    def front_file(self) -> Path:
        """The operator's words of the front page, if there are any."""
        return self.path / "front.toml"

    @property
    def machines(self) -> Path:
        """The tenants' disks."""
        return self.path / "machines"

    @property
    def host_socket(self) -> Path:
        """Where the control plane reaches the machine host."""
        return self.path / "run" / "host" / "host.sock"

    @property
    def doors(self) -> Path:
        """The sockets by which the router reaches into machines."""
        return self.path / "run" / "doors"

    @property
    def releases(self) -> Path:
        """The published folders of all tenants."""
        return self.path / "releases"

    @property
    def caddy(self) -> Path:
        """The router's own data."""
        return self.path / "caddy"

    @property
    def sites(self) -> Path:
        """What the router serves: a folder a hostname."""
        return self.path / "sites"

    @property
    def web_socket(self) -> Path:
        """Where the router reaches the control plane."""
        return self.path / "run" / "web" / "web.sock"

    @property
    def certificates_socket(self) -> Path:
        """Where the router asks for which hostnames it may have a certificate."""
        return self.web_socket.with_name("certificates.sock")

    @property
    def console_key(self) -> Path:
        """The key of the operator's console, for root alone; there while the box runs."""
        return self.path / "console" / "key"

    @property
    def console_key_hash(self) -> Path:
        """Its SHA-256, by which the control plane knows it."""
        return self.path / "console" / "key.sha256"

    @property
    def api_keys(self) -> Path:
        """What the HTTP API signs with, for the control plane alone."""
        return self.path / "api"

    @property
    def logs(self) -> Path:
        """One bounded log a process."""
        return self.path / "log"

    @property
    def lock_file(self) -> Path:
        """Held by the supervisor of this folder, whose process id it names."""
        return self.path / "lock"

    @property
    def port_file(self) -> Path:
        """The router's port, once chosen."""
        return self.path / "port"

    @property
    def host_name_file(self) -> Path:
        """The name under which this host keeps machines, once chosen."""
        return self.path / "host-name"

    @property
    def providers_file(self) -> Path:
        """The names of the model providers that this folder's box could ask when it was started last."""
        return self.path / "providers"

    def relay_authorities(self, relay: str) -> Path:
        """Return where the certificate authorities of a mail relay are kept for the gateway."""
        return self.path / f"relay-{relay}.pem"

    @property
    def chat_file(self) -> Path:
        """Who `subclaw chat` is, and what it has shown."""
        return self.path / "chat.json"

    def port(self) -> int | None:
        """Return the router's port, if one was chosen."""
        return int(self.port_file.read_text()) if self.port_file.exists() else None


@contextmanager
def held(home: Home) -> Iterator[None]:
    """Hold the folder as its only supervisor. Errors: `Conflict`, which names the other."""
    with home.lock_file.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            other = lock.read().strip() or "?"
            raise Conflict(
                f"subclaw already runs with the state folder {home.path} (process {other}). "
                "Stop it, or set SUBCLAW_HOME to another folder."
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def require_running(home: Home) -> int:
    """Return the port of the box that runs with this folder. Errors: `Unavailable` if there is none, `Denied`."""
    try:
        with home.lock_file.open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        if port := home.port():
            return port
    except PermissionError as error:
        raise Denied(f"The state folder {home.path} is root's. Use sudo.") from error
    except FileNotFoundError:
        pass
    raise Unavailable(f"subclaw does not run with the state folder {home.path}. Start it with: subclaw up")


def prepare_home(home: Home) -> None:
    """Make the folders with their owners.

    Errors: `Conflict` for a folder that holds something else, `Unavailable` for a full disk or users that are missing,
    `Denied` for a place that those cannot reach.
    """
    folders = (
        (home.path, "root", "root", 0o755),
        (home.path / "run", "root", "root", 0o755),
        (home.logs, "root", "root", 0o750),
        (home.database.parent, DATABASE_USER, DATABASE_USER, 0o700),
        (home.database_socket_folder, DATABASE_USER, DATABASE_USER, 0o755),
        (home.keys, EGRESS_USER, EGRESS_USER, 0o755),
        (home.egress_socket.parent, EGRESS_USER, CONTROL_USER, 0o2750),
        (home.completions_socket.parent, CONTROL_USER, EGRESS_USER, 0o2750),
        (home.audit_socket.parent, "root", CONTROL_USER, 0o2750),
        (home.machines, "root", "root", 0o700),
        (home.host_socket.parent, "root", CONTROL_USER, 0o2750),
        (home.doors, "root", CADDY_USER, 0o2750),
        (home.releases, CONTROL_USER, CADDY_USER, 0o2750),
        (home.sites, CONTROL_USER, CADDY_USER, 0o2750),
        (home.web_socket.parent, CONTROL_USER, CADDY_USER, 0o2750),
        (home.console_key.parent, "root", CONTROL_USER, 0o2750),
        (home.api_keys, CONTROL_USER, CONTROL_USER, 0o700),
    )
    try:
        _take(home)
        for folder, owner, group, mode in folders:
            folder.mkdir(parents=True, exist_ok=True)
            os.chown(folder, pwd.getpwnam(owner).pw_uid, grp.getgrnam(group).gr_gid)
            folder.chmod(mode)
        closed = next((folder for folder in home.path.resolve().parents if not folder.stat().st_mode & 0o001), None)
        free = shutil.disk_usage(home.path).free
    except KeyError as error:
        raise Unavailable("The system users of subclaw are missing. Make them with: make setup") from error
    except OSError as error:
        raise Unavailable(f"The state folder {home.path} cannot be made: {error.strerror}.") from error
    if closed:
        raise Denied(
            f"The system users that subclaw's parts run as cannot enter {closed}, in which the state folder lies. "
            f"Open it with: chmod o+x {closed}, or set SUBCLAW_HOME to another folder."
        )
    if free < FREE_BYTES:
        raise Unavailable(
            f"The disk of {home.path} is full: {free // 2**20} MB are free and {FREE_BYTES // 2**20} MB are needed. "
            "Make room, or set SUBCLAW_HOME to a folder on another disk."
        )


def _take(home: Home) -> None:
    """Make the folder subclaw's own, unless it is somebody else's: its owner and mode are about to change.

    What the operator writes for subclaw may be there before it is started for the first time.
    """
    home.path.mkdir(parents=True, exist_ok=True)
    ours = {"lost+found", home.agent_file.name, home.front_file.name}
    if not home.lock_file.exists() and {entry.name for entry in home.path.iterdir()} - ours:
        raise Conflict(
            f"The folder {home.path} holds other files. Set SUBCLAW_HOME to an empty folder, or to a new one."
        )
    home.lock_file.touch(mode=0o644)
