"""The gateway: listens for the control plane and for the host that hands it machines, until it is ended."""

import asyncio
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from subclaw.core.upstream import Upstream
from subclaw.egress.control import ControlDoor, open_control_door
from subclaw.egress.limits import Limits
from subclaw.egress.process import forbid_core_dumps, room_for_connections
from subclaw.egress.vault import LoadSecrets, Vault
from subclaw.egress.wire import Wire
from subclaw.sockets import bind_unix

_log = logging.getLogger(__name__)


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


async def serve_egress(settings: EgressSettings) -> None:
    """Serve until cancelled; calls that are under way are then cut.

    Errors at the start: `Invalid` (an upstream), `NotFound` and `Corrupt` (the key), `Conflict` (another gateway
    serves this socket), `Unavailable` (the socket cannot be made).
    """
    forbid_core_dumps()
    door = _control_door(settings)
    room_for_connections(settings.limits.connections)
    _log.info("listening upstreams=%s", ",".join(sorted(door.upstreams)) or "-")
    try:
        async with asyncio.TaskGroup() as group:
            await _serve_control(settings, door, group)
    finally:
        door.close()


def _control_door(settings: EgressSettings) -> ControlDoor:
    tls = settings.ssl_context or ssl.create_default_context()
    tls.set_alpn_protocols(["http/1.1"])
    vault = Vault(settings.key_folder, settings.load_secrets)
    return open_control_door(settings.upstreams, vault, settings.signing_secrets, settings.limits, tls)


async def _serve_control(settings: EgressSettings, door: ControlDoor, group: asyncio.TaskGroup) -> None:
    listener = bind_unix(settings.socket_path, settings.socket_gid)

    def accept(wire: Wire) -> None:
        if server.is_serving():
            group.create_task(door.serve(wire))
        else:  # accepted while the gateway ends
            wire.abort()

    try:
        server = await asyncio.get_running_loop().create_unix_server(lambda: Wire(accept), sock=listener)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            server.close()
    finally:
        listener.close()
        settings.socket_path.unlink(missing_ok=True)
