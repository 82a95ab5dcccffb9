"""A plan: what the operator gives the machines of the tenants on it."""

import re
from dataclasses import dataclass

from subclaw.core.errors import Invalid

STANDARD = "standard"
"""The plan that a new tenant is on."""

DAY_S = 86_400
DISK_LIMITS_MB = (64, 1_048_576)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What machines may use.

    A machine sleeps after `idle_timeout_s` without use; a claim to stay awake is honoured for `awake_s_per_day` machine
    seconds a day (UTC). `disk_mb` is the size of the disk; `sleeps_with_memory` says that what runs in a machine goes
    on after its sleep.
    """

    name: str
    idle_timeout_s: int
    awake_s_per_day: int
    disk_mb: int
    sleeps_with_memory: bool


def check_plan(plan: Plan) -> None:
    """Raise `Invalid`, in words, for a plan that cannot be."""
    least_mb, most_mb = DISK_LIMITS_MB
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,61}[a-z0-9]", plan.name):
        raise Invalid("A plan's name has 2 to 63 small letters, digits and hyphens, and begins with a letter.")
    if not 1 <= plan.idle_timeout_s <= DAY_S:
        raise Invalid(f"The idle time-out of a plan is from 1 to {DAY_S} seconds.")
    if not 0 <= plan.awake_s_per_day <= DAY_S:
        raise Invalid("A day has from 0 to 24 hours to stay awake in.")
    if not least_mb <= plan.disk_mb <= most_mb:
        raise Invalid(f"The disk of a plan has from {least_mb} to {most_mb} MB.")
