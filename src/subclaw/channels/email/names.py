"""What the DNS says of domains that mail comes from: texts, and who takes mail."""

from collections.abc import Sequence

import aiodns
import pycares

from subclaw.core.errors import Unavailable

_TRY_S = 1.0
_TRIES = 3
_ABSENT = (aiodns.error.ARES_ENOTFOUND, aiodns.error.ARES_ENODATA)
_FLAGS = pycares.ARES_FLAG_NOSEARCH | pycares.ARES_FLAG_EDNS


class Names:
    """The host's name servers, or others, by c-ares; TCP for what is too long. Made within a running loop."""

    def __init__(self, name_servers: Sequence[str] = ()) -> None:
        self._library = aiodns.DNSResolver(nameservers=name_servers or None, timeout=_TRY_S, tries=_TRIES, flags=_FLAGS)

    async def texts(self, name: str) -> tuple[bytes, ...]:
        """Return a name's texts, none if it has none or does not exist. Errors: `Unavailable`."""
        return tuple(
            record.data.data
            for record in await self._ask(name, "TXT")
            if isinstance(record.data, pycares.TXTRecordData)
        )

    async def mail_hosts(self, domain: str) -> tuple[str, ...]:
        """Return the names of the servers that take mail for a domain. Errors: `Unavailable`."""
        found = [record.data for record in await self._ask(domain, "MX")]
        return tuple(data.exchange.rstrip(".") for data in found if isinstance(data, pycares.MXRecordData))

    async def close(self) -> None:
        """End all questions under way."""
        await self._library.close()

    async def _ask(self, name: str, kind: str) -> Sequence[pycares.DNSRecord]:
        try:
            return (await self._library.query_dns(name, kind)).answer
        except (aiodns.error.DNSError, UnicodeError, ValueError) as error:
            code = error.args[0] if error.args else None
            if code in _ABSENT or not isinstance(error, aiodns.error.DNSError):
                return ()
            raise Unavailable(f"{name} could not be looked up.", internal=f"DNS: {error.args[-1]}") from None
