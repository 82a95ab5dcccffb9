"""What the API is given."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import cast

from nacl.signing import SigningKey
from starlette.requests import Request

from subclaw.core.channel import Intake
from subclaw.core.tenant import TenantId
from subclaw.core.tool import Caller
from subclaw.store.database import Database
from subclaw.store.feed import StoreFeed
from subclaw.store.live import LiveFeed


@dataclass(frozen=True, kw_only=True)
class Inside:
    """What the API is given.

    `database` is open in the application's role, `operator` in the operator's. `seal_to` is the gateway's public key.
    `receipts` signs receipts of erasure. `destroy_machine` ends a customer's machine with its disk, and says whether
    there was one; `machine_files` streams the files on it as a tar, nothing if there is none; `remove_files` removes
    what they published, and says how many files. Errors of all: `Unavailable`. `start_account` makes a link by which a
    caller's customer connects an account at a provider; see `AccountLinks`.
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
    machine_files: Callable[[TenantId], AsyncGenerator[bytes, None]]
    start_account: Callable[[Caller, str], Awaitable[str]]
    remove_files: Callable[[TenantId], Awaitable[int]]
    streams_limit: int = 4_000


def inside_of(request: Request) -> Inside:
    """Return what the application was given."""
    return cast(Inside, request.app.state.inside)
