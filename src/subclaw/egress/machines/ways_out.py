"""Ways out: the host gives the gateway a machine's, as open sockets, for as long as the machine is awake.

The sockets were made in the machine's own network namespace: whatever comes by them comes from that machine, and no
header or address has to be believed. One connection is one machine: `{"tenant": "7"}` and a newline, with a listener
for TCP and a socket for UDP; the answer is `{"certificate": "…"}`, the machine's authority in PEM, or `{"error": "…"}`.
"""

import asyncio
import contextlib
import json
import logging
import os
import socket
import struct
from pathlib import Path

from subclaw.core.errors import Corrupt, Invalid, SubclawError
from subclaw.core.tenant import TenantId
from subclaw.egress.http.serving import as_refusal
from subclaw.egress.http.wire import Wire
from subclaw.egress.machines.connections import serve_machine_connection
from subclaw.egress.machines.machine import Machine
from subclaw.egress.machines.machines import Machines
from subclaw.egress.names.server import serve_dns
from subclaw.sockets import bind_unix

MESSAGE_LIMIT_BYTES = 4_096
FIRST_WORD_S = 5.0
ACCEPT_PAUSE_S = 0.1
_SOCKETS = 2
_SO_ORIGINAL_DST = 80
"""From the kernel's netfilter_ipv4.h and netfilter_ipv6/ip6_tables.h; the same number in both."""
_PEER = struct.Struct("3i")

_log = logging.getLogger(__name__)


async def serve_ways_out(path: Path, group_id: int, host_user: int, machines: Machines) -> None:
    """Take machines over from the host, which runs as `host_user`, until cancelled. Errors: as `bind_unix`."""
    listener = bind_unix(path, group_id)
    listener.setblocking(False)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    connection, _ = await loop.sock_accept(listener)
                except OSError as error:  # no descriptor is free, or whoever connected is gone again
                    _log.warning("a connection of the host's is not accepted: %s", type(error).__name__)
                    await asyncio.sleep(ACCEPT_PAUSE_S)
                    continue
                group.create_task(_serve_way_out(connection, host_user, machines))
    finally:
        listener.close()
        await asyncio.to_thread(path.unlink, missing_ok=True)


async def _serve_way_out(connection: socket.socket, host_user: int, machines: Machines) -> None:
    loop = asyncio.get_running_loop()
    with connection:
        connection.setblocking(False)
        try:
            async with asyncio.timeout(FIRST_WORD_S):
                await _readable(connection)
            tenant_id, listener, names = _received(connection, host_user)
            with listener, names:
                async with machines.opened(tenant_id) as machine:
                    await _answer(connection, {"certificate": machine.authority.pem})
                    await _serve_machine(connection, machine, listener, names)
        except (OSError, TimeoutError):
            return
        except SubclawError as error:
            _log.warning("a machine was not taken over: %s", type(error).__name__)
            with contextlib.suppress(OSError):
                await loop.sock_sendall(connection, json.dumps({"error": error.public}).encode() + b"\n")
        except Exception as error:  # one machine must not end the others
            _log.error("a machine is served no more: %s", as_refusal(error).internal)


async def _serve_machine(
    connection: socket.socket, machine: Machine, listener: socket.socket, names: socket.socket
) -> None:
    """Serve what a machine sends until the host closes the connection."""
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:

        def accept(wire: Wire) -> None:
            if not server.is_serving():  # accepted while the machine is let go
                wire.abort()
                return
            try:
                address, port = original_destination(wire.descriptor)
            except OSError:  # gone already
                wire.abort()
                return
            group.create_task(serve_machine_connection(wire, machine, address, port))

        server = await loop.create_server(lambda: Wire(accept), sock=listener)
        datagrams = await serve_dns(names, machine.name_key, machine.name_rate)
        try:
            with contextlib.suppress(ConnectionError):  # a host that was killed may not have read its answer
                while await loop.sock_recv(connection, MESSAGE_LIMIT_BYTES):
                    pass  # there is nothing more to be said
        finally:
            server.close()
            datagrams.close()
            for task in machine.serving():
                task.cancel()


async def _answer(connection: socket.socket, document: dict[str, str]) -> None:
    await asyncio.get_running_loop().sock_sendall(connection, json.dumps(document).encode() + b"\n")


def _received(connection: socket.socket, host_user: int) -> tuple[TenantId, socket.socket, socket.socket]:
    """Take the message and the sockets. Errors: `Invalid`, `OSError`; nothing stays open then."""
    data, descriptors, _, _ = socket.recv_fds(connection, MESSAGE_LIMIT_BYTES, _SOCKETS)
    with contextlib.ExitStack() as stack:
        for descriptor in descriptors:
            stack.callback(os.close, descriptor)
        _, user, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        if not data:
            raise ConnectionResetError("whoever connected has gone")
        if user != host_user:
            raise Invalid("only the machine host hands machines over")
        try:
            tenant_id = TenantId(int(json.loads(data)["tenant"]))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            raise Invalid("that is no machine") from None
        if len(descriptors) != _SOCKETS:
            raise Invalid("a listener and a socket for names are needed")
        stack.pop_all()
    listener, names = (socket.socket(fileno=descriptor) for descriptor in descriptors)
    if listener.type != socket.SOCK_STREAM or names.type != socket.SOCK_DGRAM:
        listener.close()
        names.close()
        raise Corrupt("the host handed over the wrong sockets")
    listener.setblocking(False)
    names.setblocking(False)
    return tenant_id, listener, names


def original_destination(descriptor: int) -> tuple[str, int]:
    """Return where a redirected connection was meant to go. Errors: `OSError`."""
    with socket.socket(fileno=os.dup(descriptor)) as connection:
        mapped = connection.getsockname()[0].startswith("::ffff:") or connection.family == socket.AF_INET
        if mapped:
            found = connection.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, 16)
            port, packed = struct.unpack("!2xH4s8x", found)
            return socket.inet_ntop(socket.AF_INET, packed), port
        found = connection.getsockopt(socket.IPPROTO_IPV6, _SO_ORIGINAL_DST, 28)
        port, packed = struct.unpack("!2xH4x16s4x", found)
        return socket.inet_ntop(socket.AF_INET6, packed), port


async def _readable(connection: socket.socket) -> None:
    """Wait until something can be read."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(connection, ready.set_result, None)
    try:
        await ready
    finally:
        loop.remove_reader(connection)
