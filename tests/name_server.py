"""A real name server for tests, over UDP and TCP: it says what it is told to, and keeps what it was asked."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

_TRIES = 20


class NameServer(asyncio.DatagramProtocol):
    """Names without records do not exist. `questions` are names and types, in the order in which they came."""

    def __init__(self) -> None:
        self.address = ""
        self.questions: list[tuple[str, str]] = []
        self.asked = asyncio.Event()
        self.over_tcp = 0
        self._records: dict[str, tuple[int, tuple[str, ...]]] = {}
        self._texts: dict[str, tuple[str, ...]] = {}
        self._aliases: dict[str, str] = {}
        self._codes: dict[str, dns.rcode.Rcode] = {}
        self._gates: dict[str, asyncio.Event] = {}
        self._truncated: set[str] = set()
        self._transport: asyncio.DatagramTransport | None = None
        self._held: list[tuple[bytes, tuple[str, int]]] = []

    def tell(self, name: str, *addresses: str, ttl_s: int = 0, alias: str = "") -> None:
        """Let a name have these addresses or other records; by way of another name if there is an alias."""
        self._records[name] = (ttl_s, addresses)
        self._aliases[name] = alias

    def tell_texts(self, name: str, *texts: str) -> None:
        """Let a name have these texts, and no address unless it was told."""
        self._texts[name] = texts
        self._records.setdefault(name, (0, ()))
        self._aliases.setdefault(name, "")

    def fail(self, name: str, code: dns.rcode.Rcode) -> None:
        """Answer questions for a name with a code."""
        self._codes[name] = code

    def hold(self, name: str) -> None:
        """Answer questions for a name only when it is released."""
        self._gates[name] = asyncio.Event()

    def release(self, name: str) -> None:
        """Answer the questions that were held back, and new ones at once."""
        del self._gates[name]
        held, self._held = self._held, []
        for data, sender in held:
            self.datagram_received(data, sender)

    def truncate(self, name: str) -> None:
        """Have a name asked for over TCP."""
        self._truncated.add(name)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        name = _name(query)
        if name in self._gates:
            self._held.append((data, addr))
        else:
            self.questions.append((name, dns.rdatatype.to_text(query.question[0].rdtype)))
        self.asked.set()
        if name not in self._gates and self._transport is not None:
            self._transport.sendto(self._reply(query, truncated=name in self._truncated), addr)

    async def stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer over one TCP connection."""
        try:
            while True:
                size_bytes = int.from_bytes(await reader.readexactly(2))
                query = dns.message.from_wire(await reader.readexactly(size_bytes))
                self.over_tcp += 1
                reply = self._reply(query, truncated=False)
                writer.write(len(reply).to_bytes(2) + reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _reply(self, query: dns.message.Message, *, truncated: bool) -> bytes:
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA
        name = _name(query)
        if truncated:
            reply.flags |= dns.flags.TC
        elif name in self._codes:
            reply.set_rcode(self._codes[name])
        elif name not in self._records:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        else:
            self._fill(reply, *self._records[name])
        return reply.to_wire()

    def _fill(self, reply: dns.message.Message, ttl_s: int, addresses: tuple[str, ...]) -> None:
        owner, kind = reply.question[0].name.to_text(), reply.question[0].rdtype
        alias = self._aliases[owner.rstrip(".").lower()]
        if alias:
            reply.answer.append(dns.rrset.from_text(owner, ttl_s, "IN", "CNAME", f"{alias}."))
            owner = f"{alias}."
        if kind == dns.rdatatype.TXT and (texts := self._texts.get(owner.rstrip(".").lower())):
            for text in texts:
                reply.answer.append(dns.rrset.from_text(owner, ttl_s, "IN", "TXT", f'"{text}"'))
            return
        wanted = [text for text in addresses if (":" in text) == (kind == dns.rdatatype.AAAA)]
        if wanted:
            reply.answer.append(dns.rrset.from_text(owner, ttl_s, "IN", dns.rdatatype.to_text(kind), *wanted))


@asynccontextmanager
async def name_server() -> AsyncIterator[NameServer]:
    """Run a name server on this host for a block; `address` says where."""
    loop = asyncio.get_running_loop()
    with _bound_pair() as (datagrams, connections):
        transport, server = await loop.create_datagram_endpoint(NameServer, sock=datagrams)
        server.address = f"127.0.0.1:{datagrams.getsockname()[1]}"
        streams = await asyncio.start_server(server.stream, sock=connections)
        try:
            yield server
        finally:
            streams.close()
            await streams.wait_closed()
            transport.close()


@contextmanager
def _bound_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Give a UDP and a TCP socket on one port of loopback, which is tried until it is free for both."""
    for _ in range(_TRIES):
        with ExitStack() as stack:
            datagrams = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            connections = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            datagrams.bind(("127.0.0.1", 0))
            try:
                connections.bind(datagrams.getsockname())
            except OSError:
                continue
            yield datagrams, connections
            return
    raise OSError("no port is free for both")


def _name(query: dns.message.Message) -> str:
    return query.question[0].name.to_text(omit_final_dot=True).lower()
