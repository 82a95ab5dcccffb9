"""Making the system users: no login, no home, each its own group."""

import grp
import pwd

from subclaw.accounts import SYSTEM_USERS
from subclaw.core.errors import Unavailable
from subclaw.setup.programs import ask
from subclaw.setup.progress import TextOutput


def missing_users() -> tuple[str, ...]:
    """Return those of SYSTEM_USERS that the host does not have."""
    return tuple(name for name in SYSTEM_USERS if not _has_user(name))


def useradd_command(name: str, *, group_exists: bool) -> list[str]:
    """Return the command that makes one system user."""
    group = ["--gid", name] if group_exists else ["--user-group"]
    home = ["--no-create-home", "--home-dir", "/nonexistent"]
    return ["useradd", "--system", *group, *home, "--shell", "/usr/sbin/nologin", name]


def make_users(missing: tuple[str, ...], output: TextOutput) -> None:
    """Make the system users named. Raises Unavailable if one cannot be made."""
    for name in missing:
        if ask(useradd_command(name, group_exists=_has_group(name))).exit_status != 0:
            raise Unavailable(f"The system user {name} could not be made: run `useradd --system {name}` to see why.")
    output.write(f"made the system users {', '.join(missing)}\n")


def _has_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _has_group(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True
