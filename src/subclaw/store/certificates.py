"""For which hostnames the router may have certificates."""

from enum import StrEnum

from subclaw.store.database import Database


class Verdict(StrEnum):
    """Whether a certificate may be had: it is allowed, the hostname is nobody's, or it was asked for too often."""

    ALLOWED = "allowed"
    UNKNOWN = "unknown"
    TOO_OFTEN = "too_often"
    TOO_MANY = "too_many"


async def allow_certificate(
    database: Database, hostname: str, *, name: str, is_known: bool, an_hour: int, new_an_hour: int
) -> Verdict:
    """Say whether a certificate may be had for a hostname, and count it.

    `name` is the tenant's whose site it would be, if it lies below the sites' domain; `is_known` says that the router
    serves it. A hostname may be asked for `an_hour` times, and `new_an_hour` hostnames that never were. Errors:
    `Unavailable`.
    """
    ((verdict,),) = await database.rows(
        "SELECT allow_certificate(%s, %s, %s, %s, %s)", hostname, name, is_known, an_hour, new_an_hour
    )
    return Verdict(verdict)
