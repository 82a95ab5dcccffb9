"""The private PostgreSQL cluster: made in the state folder, reached by a unix socket alone, run as a user of its own.

Who may take which role is said by the operating system's user (peer authentication); nobody has a password.
"""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from subclaw.core.errors import Unavailable
from subclaw.store.database import DatabaseAddress, Role

DATABASE = "subclaw"
OWNER = "subclaw"

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0777",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "synchronous_commit": "on",
    "wal_compression": "on",
    "max_wal_size": "512MB",
    "jit": "off",
    "autovacuum_naptime": "20s",
    "logging_collector": "off",
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
}
"""Small, durable, and silent about statements: a statement may hold a tenant's words."""


def find_binaries() -> Path:
    """Return the folder of PostgreSQL's own programs. Errors: `Unavailable` if it is not installed."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "initdb").exists():
            return folder
    if found := shutil.which("initdb"):
        return Path(found).parent
    raise Unavailable("PostgreSQL is not installed. Install it with: apt-get install postgresql")


def private_address(socket_folder: Path) -> DatabaseAddress:
    """Return the address of the private cluster that listens in `socket_folder`."""
    return DatabaseAddress(url=f"host={socket_folder} dbname={DATABASE} user={OWNER}", private=True)


def make_cluster(folder: Path, *, as_user: Sequence[str], roles: Mapping[str, Sequence[Role]], owner_user: str) -> None:
    """Make the cluster, if there is none, and write its configuration.

    `as_user` is the command prefix that runs a program as the cluster's user, who owns `folder`'s parent. `roles` maps
    users of the operating system to the roles that they may take; `owner_user` may take all of them.
    """
    if not (folder / "PG_VERSION").exists():
        shutil.rmtree(folder, ignore_errors=True)
        command = [*as_user, str(find_binaries() / "initdb"), f"--pgdata={folder}", f"--username={OWNER}"]
        command += ["--auth=peer", "--encoding=UTF8", "--locale=C.UTF-8"]
        made = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if made.returncode != 0:
            raise Unavailable("The database could not be made.", internal=made.stderr.strip())
    (folder / "postgresql.auto.conf").write_text("".join(f"{name} = '{value}'\n" for name, value in _SETTINGS.items()))
    (folder / "pg_hba.conf").write_text("local all all peer map=subclaw\n")
    allowed = [(owner_user, OWNER), *((user, role.value) for user, taken in roles.items() for role in taken)]
    (folder / "pg_ident.conf").write_text("".join(f"subclaw {user} {role}\n" for user, role in allowed))


def cluster_command(folder: Path, socket_folder: Path) -> list[str]:
    """Return the command that serves the cluster in the foreground."""
    return [str(find_binaries() / "postgres"), "-D", str(folder), "-k", str(socket_folder)]
