"""The system users that subclaw's processes run as: one for each kind, so that none can read another's files."""

import grp
import pwd

CONTROL_USER = "subclaw"
DATABASE_USER = "subclaw-db"
EGRESS_USER = "subclaw-egress"
CADDY_USER = "subclaw-caddy"
SYSTEM_USERS = (CONTROL_USER, DATABASE_USER, EGRESS_USER, CADDY_USER)


def user_id(name: str) -> int:
    """Return a system user's number."""
    return pwd.getpwnam(name).pw_uid


def group_id(name: str) -> int:
    """Return a system group's number."""
    return grp.getgrnam(name).gr_gid
