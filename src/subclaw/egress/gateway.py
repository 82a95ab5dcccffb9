"""The gateway: listens for the control plane and for the host that hands it machines, until it is ended."""

import asyncio
import functools
import logging
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from subclaw.core.errors import Invalid
from subclaw.core.mail_relay import MailRelay
from subclaw.core.oauth import AccountBook
from subclaw.core.policy import Rule
from subclaw.core.signature import Signature
from subclaw.core.tenant_egress import EgressBook
from subclaw.core.upstream import Upstream
from subclaw.egress.control.door import ControlDoor, open_control_door
from subclaw.egress.control.mail import Post
from subclaw.egress.control.tenant_calls import TenantCalls
from subclaw.egress.control.webhook import Webhooks, nowhere
from subclaw.egress.http.wire import Wire
from subclaw.egress.keys import read_private_key
from subclaw.egress.limits import MACHINE_LIMITS, Limits
from subclaw.egress.machines.machines import Machines
from subclaw.egress.machines.ways_out import serve_ways_out
from subclaw.egress.names.resolver import HostResolver
from subclaw.egress.oauth.accounts import Accounts
from subclaw.egress.outside import Outside
from subclaw.egress.process import forbid_core_dumps, room_for_connections
from subclaw.egress.vault import LoadSecrets, Vault
from subclaw.sockets import bind_unix

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ForControl:
    """How the control plane is served.

    The socket can be used by its owner, who runs the gateway, and by the group `socket_gid`. `signatures` are
    those that can be checked, by the name of the scheme; by `relays` mail is sent.
    """

    socket_path: Path
    socket_gid: int
    upstreams: tuple[Upstream, ...]
    load_secrets: LoadSecrets
    signatures: Mapping[str, Signature] = field(default_factory=dict)
    relays: tuple[MailRelay, ...] = ()
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, kw_only=True)
class ForMachines:
    """How machines are served: those that `host_user` hands over by the socket, which the group `socket_gid` may use.

    `starter` are the rules that subclaw comes with. `name_servers` are asked in place of the host's. By
    `completions_socket` machines ask the control plane for completions, if it is given.
    """

    socket_path: Path
    socket_gid: int
    host_user: int
    book: EgressBook
    starter: Sequence[Rule] = ()
    name_servers: tuple[str, ...] = ()
    completions_socket: Path | None = None
    limits: Limits = MACHINE_LIMITS


@dataclass(frozen=True, kw_only=True)
class EgressSettings:
    """All that a gateway needs; it serves the control plane, or machines, or both: then that may call for tenants, too.

    `key_folder` holds the key pair (`keys.ensure_key`). `authorities` is a file of certificate authorities in PEM that
    are believed beside the system's; `ssl_context` replaces all of them. With `accounts`, persons' accounts can be
    connected by the control plane, machines' secrets of accounts are renewed, and webhooks go where the operator says
    that a host is.
    """

    key_folder: Path
    control: ForControl | None = None
    machines: ForMachines | None = None
    accounts: AccountBook | None = None
    authorities: Path | None = None
    ssl_context: ssl.SSLContext | None = None


async def serve_egress(settings: EgressSettings) -> None:
    """Serve until cancelled; calls that are under way are then cut.

    Errors at the start: `Invalid` (an upstream), `NotFound` and `Corrupt` (the key), `Conflict` (another gateway
    serves a socket), `Unavailable` (a socket cannot be made).
    """
    forbid_core_dumps()
    tls = _trusting(settings)
    resolver = HostResolver(settings.machines.name_servers if settings.machines else ())
    try:
        await _serve(settings, Outside(resolver=resolver, tls=tls))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    finally:
        await resolver.close()


async def _serve(settings: EgressSettings, outside: Outside) -> None:
    accounts = _accounts(settings, outside)
    machines = _machines(settings.machines, settings.key_folder, outside, accounts) if settings.machines else None
    calls = TenantCalls(machines) if machines else None
    door = _control_door(settings, settings.control, outside, accounts, calls) if settings.control else None
    room_for_connections(max(each.limits.connections for each in (settings.control, settings.machines) if each))
    try:
        async with asyncio.TaskGroup() as group:
            if settings.control and door:
                group.create_task(_serve_control(settings.control, door, group))
                if accounts:
                    group.create_task(accounts.keep())
            if settings.machines and machines:
                group.create_task(_serve_machines(settings.machines, machines))
    finally:
        if calls:
            await calls.close()
        if door:
            door.close()
        if accounts:
            await accounts.close()


def _accounts(settings: EgressSettings, outside: Outside) -> Accounts | None:
    if settings.accounts is None:
        return None
    return Accounts(key=read_private_key(settings.key_folder), book=settings.accounts, outside=outside)


def _trusting(settings: EgressSettings, protocols: Sequence[str] = ("http/1.1",)) -> ssl.SSLContext:
    """Return what servers' certificates are checked with, and which protocols they are offered. Errors: `Invalid`."""
    context = settings.ssl_context or ssl.create_default_context()
    if settings.authorities is not None:
        _believe(context, settings.authorities)
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


def _trusting_relay(settings: EgressSettings, relay: MailRelay) -> ssl.SSLContext:
    """Return what a relay's certificate is checked with: its own authorities and no others, if it has some.

    Errors: `Invalid`.
    """
    if relay.authorities is None:
        return _trusting(settings, protocols=())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _believe(context, relay.authorities)
    return context


def _believe(context: ssl.SSLContext, authorities: Path) -> None:
    try:
        context.load_verify_locations(authorities)
    except OSError as error:
        raise Invalid(
            f"{authorities} cannot be read as certificate authorities in PEM by the egress gateway's user."
        ) from error


def _control_door(
    settings: EgressSettings,
    control: ForControl,
    outside: Outside,
    accounts: Accounts | None,
    calls: TenantCalls | None,
) -> ControlDoor:
    vault = Vault(settings.key_folder, control.load_secrets)
    relays = {relay.name: relay for relay in control.relays}
    # A context takes memory, which is for those who have e-mail: it is made once there is a mail.
    post = Post(relays=relays, tls_of=functools.cache(functools.partial(_trusting_relay, settings)))
    webhooks = Webhooks(
        key=read_private_key(settings.key_folder),
        outside=outside,
        limits=control.limits,
        addresses_of=settings.accounts.addresses if settings.accounts else nowhere,
    )
    return open_control_door(
        control.upstreams, vault, control.signatures, control.limits, outside.tls, accounts, post, calls, webhooks
    )


async def _serve_control(settings: ForControl, door: ControlDoor, group: asyncio.TaskGroup) -> None:
    listener = bind_unix(settings.socket_path, settings.socket_gid)

    def accept(wire: Wire) -> None:
        if server.is_serving():
            group.create_task(door.serve(wire))
        else:  # accepted while the gateway ends
            wire.abort()

    try:
        server = await asyncio.get_running_loop().create_unix_server(lambda: Wire(accept), sock=listener)
        try:
            _log.info("listening upstreams=%s", ",".join(sorted(door.upstreams)) or "-")
            await asyncio.get_running_loop().create_future()
        finally:
            server.close()
    finally:
        listener.close()
        settings.socket_path.unlink(missing_ok=True)


def _machines(settings: ForMachines, key_folder: Path, outside: Outside, accounts: Accounts | None) -> Machines:
    return Machines(
        key=read_private_key(key_folder),
        book=settings.book,
        accounts=accounts,
        outside=outside,
        limits=settings.limits,
        starter=settings.starter,
        completions_socket=settings.completions_socket,
    )


async def _serve_machines(settings: ForMachines, machines: Machines) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(machines.keep())
        group.create_task(serve_ways_out(settings.socket_path, settings.socket_gid, settings.host_user, machines))
