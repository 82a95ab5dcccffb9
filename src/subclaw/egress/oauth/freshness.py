"""When an account's secret is to be renewed, and when it is of no use. Pure."""

from datetime import datetime, timedelta

from subclaw.core.secret import Grant
from subclaw.egress.refusal import Refusal

EARLY = timedelta(seconds=60)
"""How long before it expires a secret is renewed."""
REJECTED_AFTER = timedelta(seconds=30)
"""A secret that was renewed within this time is not renewed again because a server rejects it: that would not help."""


def is_stale(grant: Grant, now: datetime) -> bool:
    """Tell whether a secret is to be renewed before it is used; one that cannot be, once it has expired."""
    # What lives shorter than that would be renewed at each request.
    early = min(EARLY, _life(grant) / 2) if grant.renewable else timedelta()
    return not grant.over and grant.expires_at is not None and grant.expires_at - now <= early


def is_expired(grant: Grant, now: datetime) -> bool:
    """Tell whether a secret has stopped to work."""
    return grant.expires_at is not None and grant.expires_at <= now


def is_worth_renewing(grant: Grant, now: datetime) -> bool:
    """Tell whether a secret that a server has just rejected is to be renewed."""
    wait = min(REJECTED_AFTER, _life(grant) / 2)
    return grant.renewable and not grant.over and now - grant.renewed_at >= wait


def lost(grant: Grant) -> Refusal:
    """Return the refusal for an account that has to be connected anew."""
    return Refusal(
        403,
        f"the account at {grant.provider} has to be connected again."
        f' Ask for it with the tool ask_for_access and {{"oauth": "{grant.provider}"}}.',
        internal=f"the account at {grant.provider} is lost",
    )


def _life(grant: Grant) -> timedelta:
    return grant.expires_at - grant.renewed_at if grant.expires_at is not None else timedelta.max
