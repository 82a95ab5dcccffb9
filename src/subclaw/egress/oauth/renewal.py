"""Renewing what stands for accounts, for the request that uses it: before it expires, and once it may be rejected."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from subclaw.core.errors import Unavailable
from subclaw.core.secret import BoundSecret, Grant
from subclaw.egress.oauth.freshness import is_expired, is_stale, is_worth_renewing

Account = tuple[BoundSecret, Grant]
"""The secret that stands for a person's account, and their consent."""

RenewSecret = Callable[[BoundSecret], Awaitable[None]]
"""Has the secret renewed and hold. Errors: `Unavailable`, `Corrupt`."""


def accounts_among(secrets: Sequence[BoundSecret]) -> list[Account]:
    """Return those secrets that stand for accounts."""
    return [(secret, secret.grant) for secret in secrets if secret.grant is not None]


async def renew_stale(accounts: Sequence[Account], renew: RenewSecret) -> bool:
    """Have those renewed that are about to expire; return whether there were any.

    Errors: as `renew`; but what still works is used although it could not be renewed.
    """
    now = datetime.now(UTC)
    stale = [(secret, grant) for secret, grant in accounts if is_stale(grant, now)]
    for secret, grant in stale:
        try:
            await renew(secret)
        except Unavailable:
            if is_expired(grant, now):
                raise
    return bool(stale)


async def renew_rejected(accounts: Sequence[Account], renew: RenewSecret) -> bool:
    """Have those renewed that a server may have rejected; return whether there were any. Errors: as `renew`."""
    now = datetime.now(UTC)
    rejected = [secret for secret, grant in accounts if is_worth_renewing(grant, now)]
    for secret in rejected:
        await renew(secret)
    return bool(rejected)
