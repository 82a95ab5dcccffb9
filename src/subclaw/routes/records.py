"""What the world's DNS says of a hostname.

The control plane asks the host's name servers itself: a question for a public record carries nobody's secret, and what
comes back is only compared.
"""

from collections.abc import Sequence
from typing import Protocol

import aiodns
import pycares
from pycares import AAAARecordData, ARecordData, TXTRecordData

from subclaw.core.errors import Unavailable

_TRY_S, _TRIES = 1.0, 3
_NOTHING = (aiodns.error.ARES_ENOTFOUND, aiodns.error.ARES_ENODATA)
_RECORDS_LIMIT = 100


class Records(Protocol):
    """Public records."""

    async def texts(self, hostname: str) -> frozenset[str]:
        """Return the TXT records of a name; none if there is no such name. Errors: `Unavailable`."""
        ...

    async def addresses(self, hostname: str) -> frozenset[str]:
        """Return the addresses to which a name leads, by aliases too; none if to none. Errors: `Unavailable`."""
        ...


class DnsRecords:
    """The records that name servers tell: the host's, or those that are given (`127.0.0.1:5353`)."""

    def __init__(self, name_servers: Sequence[str] = ()) -> None:
        """Made within a running loop."""
        self._library = aiodns.DNSResolver(
            nameservers=list(name_servers) or None, timeout=_TRY_S, tries=_TRIES, flags=pycares.ARES_FLAG_NOSEARCH
        )

    async def texts(self, hostname: str) -> frozenset[str]:
        """See `Records.texts`."""
        found = await self._ask(hostname, "TXT")
        return frozenset(data.data.decode("utf-8", "replace") for data in found if isinstance(data, TXTRecordData))

    async def addresses(self, hostname: str) -> frozenset[str]:
        """See `Records.addresses`."""
        found = [*await self._ask(hostname, "A"), *await self._ask(hostname, "AAAA")]
        return frozenset(data.addr for data in found if isinstance(data, ARecordData | AAAARecordData))

    async def close(self) -> None:
        """End questions under way."""
        await self._library.close()

    async def _ask(self, hostname: str, kind: str) -> list[object]:
        """Return what the records of an answer say, those of aliases on the way among them."""
        try:
            found = await self._library.query_dns(hostname, kind)
        except aiodns.error.DNSError as error:
            if error.args and error.args[0] in _NOTHING:
                return []
            raise Unavailable(
                f"{hostname} could not be looked up; try again.",
                internal=f"DNS: {error.args[-1] if error.args else 'unknown'}",
            ) from None
        return [record.data for record in found.answer[:_RECORDS_LIMIT]]
