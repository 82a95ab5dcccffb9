"""A connection out of a machine: what it is, whom it is for, and whether that may be reached, before anything goes out.

The name in the connection decides (TLS's SNI, HTTP's Host, a proxy's CONNECT), never the address that was dialled: what
the machine believes of addresses is of no matter. Where two names are given they must agree.
"""

import asyncio
import logging
import re
from ipaddress import IPv4Address, IPv6Address, ip_address

from subclaw.core.errors import Invalid, SubclawError
from subclaw.core.hostname import full_hostname
from subclaw.core.policy import Mode, Opening, Refused
from subclaw.egress.http.door import Door
from subclaw.egress.http.http2 import serve_http2
from subclaw.egress.http.serving import as_refusal, serve_requests
from subclaw.egress.http.stream import Stream
from subclaw.egress.http.tls import TlsWire
from subclaw.egress.http.tunnel import join
from subclaw.egress.http.wire import Wire
from subclaw.egress.machines.client_hello import HELLO_LIMIT_BYTES, BadHello, Hello, read_hello
from subclaw.egress.machines.machine import Machine, Noted
from subclaw.egress.machines.requests import Requests
from subclaw.egress.names.dns import answer, framed, unframed
from subclaw.egress.refusal import Refusal

GATEWAY_ADDRESSES = (IPv4Address("10.0.2.2"), IPv6Address("fd00::2"))
"""The gateway's own, in every machine's network."""
PROXY_PORT = 3128
"""Where programs that know proxies may take the gateway for one."""
DNS_PORT = 53
_log = logging.getLogger(__name__)
_TLS_RECORD = b"\x16"
_CONNECT_LIMIT_BYTES = 4_096
_CONNECT = re.compile(rb"CONNECT ([A-Za-z0-9.-]{1,253}):([0-9]{1,5}) HTTP/1\.[01]\r\n")
_CONNECT_FIELDS = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t\x20-\x7e]*+\r\n)*+\r\n")
_HOST = re.compile(rb"\r\nhost:[ \t]*([^\r\n]*?)[ \t]*(?=\r\n)", re.IGNORECASE)


async def serve_machine_connection(wire: Wire, machine: Machine, address: str, port: int) -> None:
    """Serve a connection that a machine has made to an address and port. It is closed after."""
    with machine.connection() as allowed:
        try:
            if allowed:
                await _serve(wire, machine, address, port)
        except (ConnectionError, TimeoutError, Refusal):
            pass  # the client is gone, or was not told because it understands no HTTP
        except asyncio.CancelledError:
            wire.abort()
            raise
        except Exception as error:  # one connection must not end the others
            _log.error("a machine's connection was not served: %s", as_refusal(error).internal)
        finally:
            wire.close()


async def _serve(wire: Wire, machine: Machine, address: str, port: int) -> None:
    first = await _peek(wire, machine)
    if port == DNS_PORT:
        await _serve_dns(wire, machine)
    elif port == PROXY_PORT and ip_address(address) in GATEWAY_ADDRESSES:
        await _serve_proxy(wire, machine, first)
    elif first.startswith(_TLS_RECORD):
        await _serve_tls(wire, machine, None, port)
    else:
        await _serve_plain(wire, machine, Requests(machine=machine, tls=False, port=port))


async def _serve_tls(wire: Wire, machine: Machine, agreed: str | None, port: int) -> None:
    """Serve a connection that speaks TLS. `agreed` is the host that was named before, which its SNI must name too."""
    hello = await _hello(wire, machine, port)
    if hello is None or hello.server_name is None:
        return
    host = hello.server_name
    decision = machine.access.decide(host, port)
    if agreed not in (None, host):
        decision = Refused(reason=f"the connection was for {agreed}, and its TLS names {host}")
    if isinstance(decision, Opening) and decision.mode is Mode.SPLICE:
        await _splice(wire, machine, decision)
        return
    machine.bound_for(host, port)
    async with asyncio.timeout(machine.limits.head_s), machine.turn():
        stream = TlsWire(wire, machine.authority.context(host))
    protocol = await stream.shake_hands(machine.limits.head_s, machine.turn)
    refused = decision.reason if isinstance(decision, Refused) else ""
    requests = Requests(machine=machine, tls=True, port=port, host=host, refused=refused)
    try:
        if protocol == "h2":
            await serve_http2(stream, machine.limits, requests.answer, requests.report)
        else:
            await serve_requests(Door(stream, machine.limits, websockets=True), requests.answer, requests.report)
    finally:
        stream.close()


async def _serve_plain(wire: Wire, machine: Machine, requests: Requests) -> None:
    await serve_requests(Door(wire, machine.limits, websockets=True), requests.answer, requests.report)


async def _serve_proxy(wire: Wire, machine: Machine, first: bytes) -> None:
    """Serve a program that takes the gateway for its proxy (RFC 9110, section 9.3.6)."""
    if not b"CONNECT ".startswith(first[:8]) and not first.startswith(b"CONNECT "):
        await _serve_plain(wire, machine, Requests(machine=machine, tls=False, port=None))
        return
    host, port = await _connect_target(wire, machine)
    decision = machine.access.decide(host, port)
    if isinstance(decision, Refused):
        machine.note(machine.tenant_id, Noted(host=host, port=port, allowed=False, reason=decision.reason), 0, 0)
        await _refuse(wire, machine, Refusal(403, decision.reason))
        return
    await wire.write(b"HTTP/1.1 200 Connection established\r\n\r\n", machine.limits.head_s)
    if (await _peek(wire, machine)).startswith(_TLS_RECORD):
        await _serve_tls(wire, machine, host, port)
    else:
        await _serve_plain(wire, machine, Requests(machine=machine, tls=False, port=port, host=host))


async def _connect_target(wire: Wire, machine: Machine) -> tuple[str, int]:
    """Read the head of a CONNECT. Errors: `Refusal`, which the client has been told."""
    head = b""
    async with asyncio.timeout(machine.limits.head_s):
        while b"\r\n\r\n" not in head and len(head) < _CONNECT_LIMIT_BYTES:
            data = await wire.read(machine.limits.head_s)
            if not data:
                raise ConnectionResetError("the head breaks off")
            head += data
    head, end, rest = head.partition(b"\r\n\r\n")
    wire.unread(rest)
    line = _CONNECT.match(head + end)
    hosts = _HOST.findall(head + end)
    try:
        if len(head) > _CONNECT_LIMIT_BYTES:
            raise Invalid("the head is too large")
        if line is None or not _CONNECT_FIELDS.fullmatch(head + end, line.end()) or len(hosts) > 1:
            raise Invalid("that is not a CONNECT to a host's name and port")
        host, port = full_hostname(line[1].decode()), int(line[2])
        if hosts and hosts[0].lower() not in (line[1].lower(), line[1].lower() + b":" + line[2]):
            raise Invalid("CONNECT and Host name different hosts")
        if not 0 < port < 65_536:
            raise Invalid("that is not a port")
    except Invalid as error:
        refusal = Refusal(400, error.public)
        machine.note(machine.tenant_id, Noted(host="", port=0, allowed=False, reason=error.public), 0, 0)
        await _refuse(wire, machine, refusal)
        raise refusal from None
    return host, port


async def _splice(wire: Wire, machine: Machine, opening: Opening) -> None:
    """Pass a TLS connection on as it is."""
    noted = Noted(host=opening.host, port=opening.port, allowed=True, mode=opening.mode.value)
    sent = received = 0

    def outward(data: bytes) -> bytes:
        nonlocal sent
        machine.meter.count(len(data), 0)
        sent += len(data)
        return data

    def inward(data: bytes) -> bytes:
        nonlocal received
        machine.meter.count(0, len(data))
        received += len(data)
        return data

    machine.bound_for(opening.host, opening.port)
    try:
        machine.meter.take_request()
        upstream = await machine.dial(opening, tls=False)
        await join(wire, upstream, machine.limits, outward=outward, inward=inward)
    except SubclawError as error:
        noted = Noted(host=opening.host, port=opening.port, allowed=False, reason=as_refusal(error).public)
    finally:
        machine.note(machine.tenant_id, noted, sent, received)


async def _hello(wire: Wire, machine: Machine, port: int) -> Hello | None:
    """Read a TLS client's first words, and put them back; None if they name nobody who could be decided on."""
    data, hello, reason = b"", None, ""
    try:
        async with asyncio.timeout(machine.limits.head_s):
            while hello is None and len(data) <= 2 * HELLO_LIMIT_BYTES:
                received = await wire.read(machine.limits.head_s)
                if not received:
                    return None
                data += received
                hello = read_hello(data)
        reason = "the connection does not say whom it is for (no SNI)"
    except BadHello as error:
        reason = str(error)
    wire.unread(data)
    if hello is None or hello.server_name is None:
        machine.note(machine.tenant_id, Noted(host="", port=port, allowed=False, reason=reason), 0, 0)
    return hello


async def _serve_dns(wire: Wire, machine: Machine) -> None:
    """Answer questions that come by TCP (RFC 7766)."""
    received = b""
    while data := await wire.read(machine.limits.head_s):
        received += data
        while (found := unframed(received)) is not None:
            question, received = found
            reply = answer(question, machine.name_key)
            if reply is None or not machine.name_rate.take(asyncio.get_running_loop().time()):
                return
            await wire.write(framed(reply), machine.limits.head_s)


async def _peek(wire: Stream, machine: Machine) -> bytes:
    """Return what comes first, at least one byte, and put it back. Errors: `ConnectionError`, `TimeoutError`."""
    first = await wire.read(machine.limits.head_s)
    if not first:
        raise ConnectionResetError("nothing was said")
    wire.unread(first)
    return first


async def _refuse(wire: Wire, machine: Machine, refusal: Refusal) -> None:
    door = Door(wire, machine.limits)
    await door.refuse(refusal)
    await door.linger()
