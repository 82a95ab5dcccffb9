"""The gateway: listens on a unix socket, decides on each request, and carries the allowed ones out."""

import asyncio
import contextlib
import logging
import ssl
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import h11

from subclaw.core.errors import Corrupt, Invalid, NotFound, Unavailable
from subclaw.core.upstream import Refused, Upstream
from subclaw.egress.destination import destination
from subclaw.egress.door import Door
from subclaw.egress.exchange import Record, forward
from subclaw.egress.limits import Limits
from subclaw.egress.pool import Pool
from subclaw.egress.process import forbid_core_dumps, room_for_connections
from subclaw.egress.refusal import Refusal
from subclaw.egress.upstream_calls import decide
from subclaw.egress.vault import LoadSecrets, Vault
from subclaw.egress.verify import answer_verify
from subclaw.egress.verify_path import PREFIX
from subclaw.egress.wire import Wire
from subclaw.sockets import bind_unix

_log = logging.getLogger(__name__)
_KNOWN_METHODS = frozenset(b"GET HEAD POST PUT PATCH DELETE OPTIONS".split())


@dataclass(frozen=True, kw_only=True)
class EgressSettings:
    """All that the gateway needs.

    `key_folder` holds the key pair (`keys.ensure_key`). The socket can be used by its owner, who runs the gateway, and
    by the group `socket_gid`. `signing_secrets` maps a signature scheme to the name of the secret that is its key.
    `ssl_context` replaces the system's certificate authorities.
    """

    key_folder: Path
    socket_path: Path
    socket_gid: int
    upstreams: tuple[Upstream, ...]
    load_secrets: LoadSecrets
    signing_secrets: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    ssl_context: ssl.SSLContext | None = None


@dataclass(frozen=True, kw_only=True)
class _Gateway:
    upstreams: Mapping[str, Upstream]
    pools: Mapping[str, Pool]
    vault: Vault
    signing_secrets: Mapping[str, str]
    limits: Limits
    wires: set[Wire] = field(default_factory=set)


async def serve_egress(settings: EgressSettings) -> None:
    """Serve until cancelled; calls that are under way are then cut.

    Errors at the start: `Invalid` (an upstream), `NotFound` and `Corrupt` (the key), `Conflict` (another gateway
    serves this socket), `Unavailable` (the socket cannot be made).
    """
    forbid_core_dumps()
    gateway = _open(settings)
    listener = bind_unix(settings.socket_path, settings.socket_gid)
    room_for_connections(settings.limits.connections)
    try:
        async with asyncio.TaskGroup() as group:

            def accept(wire: Wire) -> None:
                if server.is_serving():
                    group.create_task(_serve_connection(wire, gateway))
                else:  # accepted while the gateway ends
                    wire.abort()

            server = await asyncio.get_running_loop().create_unix_server(lambda: Wire(accept), sock=listener)
            try:
                _log.info("listening upstreams=%s", ",".join(sorted(gateway.upstreams)) or "-")
                await asyncio.get_running_loop().create_future()
            finally:
                server.close()
    finally:
        listener.close()
        settings.socket_path.unlink(missing_ok=True)
        for pool in gateway.pools.values():
            pool.close()


def _open(settings: EgressSettings) -> _Gateway:
    upstreams = {upstream.name: upstream for upstream in settings.upstreams}
    if len(upstreams) != len(settings.upstreams):
        raise Invalid("Two upstreams have the same name.")
    destinations = {name: destination(upstream) for name, upstream in upstreams.items()}
    tls = settings.ssl_context
    if tls is None and any(where.tls for where in destinations.values()):
        tls = ssl.create_default_context()
    if tls is not None:
        tls.set_alpn_protocols(["http/1.1"])
    pools = {name: Pool(name, where, settings.limits, tls) for name, where in destinations.items()}
    return _Gateway(
        upstreams=upstreams,
        pools=pools,
        vault=Vault(settings.key_folder, settings.load_secrets),
        signing_secrets=settings.signing_secrets,
        limits=settings.limits,
    )


async def _serve_connection(wire: Wire, gateway: _Gateway) -> None:
    door = Door(wire, gateway.limits)
    try:
        if len(gateway.wires) >= gateway.limits.connections:
            await door.refuse(Refusal(503, "the gateway has too many connections"))
            return
        gateway.wires.add(wire)
        while await _serve_request(door, gateway):
            pass
        await door.linger()
    finally:
        gateway.wires.discard(wire)
        wire.close()


async def _serve_request(door: Door, gateway: _Gateway) -> bool:
    """Serve one request, whatever happens; return whether the connection can carry another."""
    record, started_s = Record(), time.monotonic()
    try:
        request = await door.request()
        started_s = time.monotonic()
        if request is None or door.wire.ended:
            return False
        # A client that goes away ends its call to the upstream, also while that is silent.
        door.wire.on_end = _this_task().cancel
        goes_on = await _answer(door, request, gateway, record)
    except asyncio.CancelledError:
        door.wire.abort()
        _report(record, started_s, "cut")
        raise
    except (ConnectionError, TimeoutError):
        door.wire.abort()
        _report(record, started_s, "the client is gone or takes nothing")
        return False
    except Exception as error:  # one request must not end the gateway
        refusal = _as_refusal(error)
        await _refuse(door, refusal, record)
        _report(record, started_s, refusal.internal)
        return False
    finally:
        door.wire.on_end = None
    _report(record, started_s)
    return goes_on


async def _answer(door: Door, request: h11.Request, gateway: _Gateway, record: Record) -> bool:
    record.method = request.method.decode() if request.method in _KNOWN_METHODS else "-"
    target = request.target.decode()
    if target.startswith(PREFIX):
        record.upstream, record.status = "-verify", 200
        return await answer_verify(door, request, gateway.vault, gateway.signing_secrets)
    decision = decide(gateway.upstreams, request.method.decode(), target)
    if isinstance(decision, Refused):
        raise Refusal(403, decision.reason)
    name = record.upstream = decision.upstream.name
    secret = None if decision.upstream.secret is None else await gateway.vault.secret(decision.upstream.secret)
    return await forward(door, request, decision, secret, gateway.pools[name], gateway.limits, record)


async def _refuse(door: Door, refusal: Refusal, record: Record) -> None:
    if door.begun:  # an answer that breaks off must look like one
        door.wire.abort()
        return
    record.status = refusal.status
    with contextlib.suppress(ConnectionError, TimeoutError):
        await door.refuse(refusal)


def _as_refusal(error: Exception) -> Refusal:
    """Translate what went wrong for the client. The log gets a kind and a place, never an exception's own words."""
    match error:
        case Refusal():
            return error
        case NotFound():
            return Refusal(403, error.public)
        case Unavailable():
            return Refusal(503, error.public)
        case Corrupt():
            return Refusal(500, error.public)
        case _:
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
            return Refusal(500, "the gateway failed", internal=where)


def _report(record: Record, started_s: float, reason: str = "") -> None:
    _log.info(
        "call method=%s upstream=%s status=%d sent_bytes=%d received_bytes=%d ms=%.1f reason=%s",
        record.method,
        record.upstream,
        record.status,
        record.sent_bytes,
        record.received_bytes,
        (time.monotonic() - started_s) * 1000,
        reason or "-",
    )


def _this_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("a connection is served by a task")
    return task
