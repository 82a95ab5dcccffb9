"""Finding addresses: the gateway asks the host's name servers, and says which answers may be dialled.

Only the gateway asks, and only for names that policy allows; a machine is answered by `dns.py`, which asks nobody.
"""

import asyncio
import socket
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Protocol

import aiodns
import pycares

from subclaw.core.addresses import forbidden
from subclaw.core.errors import Denied, NotFound, SubclawError, Unavailable

Address = IPv4Address | IPv6Address

RESOLVE_S = 5.0
"""How long an answer is waited for."""
UNDER_WAY_LIMIT = 512
"""Names that are asked for at once."""
RENEWED_AFTER = 4_096
"""Names after which the library's cache, which has no bound in number, is begun anew; a name takes about 2.5 KB."""
# How long a try waits follows the server's usual pace, from a quarter of a second on, and doubles with each try. An
# answer that comes after its try is thrown away, but by then the server has it at hand for the next one.
_TRY_S = 1.0
_TRIES = 5
# Never "api.test.corp.example" for "api.test": what is asked for is what policy allowed.
_FLAGS = pycares.ARES_FLAG_NOSEARCH | pycares.ARES_FLAG_EDNS


class Resolver(Protocol):
    """What finds a name's addresses."""

    async def resolve(self, host: str) -> Sequence[Address]:
        """Return the addresses of a full hostname, at least one, in the order in which to try them.

        Errors: `NotFound` if there is no such name or it has no address; `Unavailable` if nobody can tell now.
        """
        ...


class HostResolver:
    """The host's own name servers, by c-ares: /etc/resolv.conf (followed when it changes) and /etc/hosts.

    An answer is kept as long as its TTL says, an hour at most. Addresses are in RFC 6724's order, so those of a family
    that the host has no route for come last. A name that is being asked for is not asked for twice.
    """

    def __init__(self, name_servers: Sequence[str] = ()) -> None:
        """`name_servers` (`127.0.0.1:5353`) are asked instead of the host's. Made within a running loop."""
        self._name_servers = tuple(name_servers)
        self._library = self._made()
        self._asked = 0
        self._under_way: dict[str, asyncio.Task[tuple[Address, ...]]] = {}

    async def resolve(self, host: str) -> tuple[Address, ...]:
        """See `Resolver.resolve`."""
        asking = self._under_way.get(host)
        if asking is None:
            if len(self._under_way) >= UNDER_WAY_LIMIT:
                raise Unavailable("Too many names are being looked up; try again.")
            asking = asyncio.get_running_loop().create_task(self._ask(host))
            self._under_way[host] = asking
            asking.add_done_callback(lambda done: self._answered(host, done))
        # Who gives up does not take the answer from the others who wait for it.
        return await asyncio.shield(asking)

    async def close(self) -> None:
        """End all questions under way, within `RESOLVE_S`; whoever waits for one gets `Unavailable`."""
        await self._library.close()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    async def _ask(self, host: str) -> tuple[Address, ...]:
        self._asked += 1
        if self._asked % RENEWED_AFTER == 0:
            # The old one lives until its last question is answered, and then frees itself.
            self._library = self._made()
        try:
            async with asyncio.timeout(RESOLVE_S):
                found = await self._library.getaddrinfo(host, type=socket.SOCK_STREAM)
        except TimeoutError:
            raise Unavailable(f"{host} could not be looked up in time.") from None
        except aiodns.error.DNSError as error:
            raise _translated(host, error) from None
        return tuple(ip_address(node.addr[0].decode("ascii")) for node in found.nodes)

    def _answered(self, host: str, done: asyncio.Task[tuple[Address, ...]]) -> None:
        del self._under_way[host]
        if not done.cancelled():
            done.exception()  # which nobody may be left to hear of

    def _made(self) -> aiodns.DNSResolver:
        return aiodns.DNSResolver(nameservers=self._name_servers or None, timeout=_TRY_S, tries=_TRIES, flags=_FLAGS)


def checked(host: str, addresses: Iterable[Address]) -> tuple[Address, ...]:
    """Return the addresses, in their order, if every one may be dialled; these are then dialled, and no name.

    One forbidden address refuses the name whole. No honest name mixes the world's addresses with a private network's,
    and to dial the good ones alone would give whoever controls the name as many tries as they like; the refusal also
    says plainly what is wrong instead of failing at random. Errors: `Denied`.
    """
    allowed = tuple(addresses)
    for address in allowed:
        reason = forbidden(address) or ("it is this host's own" if is_own(address) else None)
        if reason is not None:
            raise Denied(
                f"{host} leads to an address that must not be reached: {reason}.", internal=f"{address}: {reason}"
            )
    return allowed


def is_own(address: Address) -> bool:
    """Return whether an address is this host's: what listens there believes that it is asked from within."""
    family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
        return True


def _translated(host: str, error: aiodns.error.DNSError) -> SubclawError:
    code = error.args[0] if error.args else None
    if code == aiodns.error.ARES_ENOTFOUND:
        return NotFound(f"{host} does not exist.")
    if code == aiodns.error.ARES_ENODATA:
        return NotFound(f"{host} has no address.")
    return Unavailable(
        f"{host} could not be looked up.", internal=f"DNS: {error.args[-1] if error.args else 'unknown'}"
    )
