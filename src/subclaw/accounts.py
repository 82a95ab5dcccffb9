"""The system users that subclaw's processes run as: one for each kind, so that none can read another's files."""

CONTROL_USER = "subclaw"
DATABASE_USER = "subclaw-db"
EGRESS_USER = "subclaw-egress"
CADDY_USER = "subclaw-caddy"
SYSTEM_USERS = (CONTROL_USER, DATABASE_USER, EGRESS_USER, CADDY_USER)
