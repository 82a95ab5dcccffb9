"""Our errors as HTTP's status codes (RFC 9110), the same at every door."""

from subclaw.core.errors import (
    Conflict,
    Corrupt,
    Denied,
    Exhausted,
    Invalid,
    NotFound,
    SubclawError,
    Unauthenticated,
    Unavailable,
)

STATUSES: dict[type[SubclawError], int] = {
    Unauthenticated: 401,
    Denied: 403,
    NotFound: 404,
    Conflict: 409,
    Invalid: 422,
    Exhausted: 429,
    Corrupt: 500,
    Unavailable: 503,
}


def status_of(error: SubclawError) -> int:
    """Return the status code that says what an error says."""
    return next((status for kind, status in STATUSES.items() if isinstance(error, kind)), 500)
