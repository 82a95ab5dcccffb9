"""What the API is given."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

from nacl.signing import SigningKey
from starlette.requests import Request

from subclaw.core.channel import Intake
from subclaw.core.tenant import TenantId
from subclaw.store.database import Database
from subclaw.store.feed import StoreFeed
from subclaw.store.live import LiveFeed


@dataclass(frozen=True, kw_only=True)
class Inside:
    """What the API is given.

    `database` is open in the application's role, `operator` in the operator's. `seal_to` is the gateway's public key.
    `receipts` signs receipts of erasure. `destroy_machine` ends a customer's machine with its disk, and says whether
    there was one; `remove_files` removes what they published, and says how many files. Errors of both: `Unavailable`.
    At most `streams_limit` event streams and waiting calls are open at once.
    """

    database: Database
    operator: Database
    feed: StoreFeed
    live: LiveFeed
    intake: Intake
    seal_to: bytes
    receipts: SigningKey
    destroy_machine: Callable[[TenantId], Awaitable[bool]]
    remove_files: Callable[[TenantId], Awaitable[int]]
    streams_limit: int = 4_000


def inside_of(request: Request) -> Inside:
    """Return what the application was given."""
    return cast(Inside, request.app.state.inside)
