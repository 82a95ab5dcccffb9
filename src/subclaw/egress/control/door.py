"""The control plane's calls: to upstreams by name, with the platform's own keys, and questions about signatures."""

import functools
import logging
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from subclaw.core.errors import Corrupt, Invalid, NotFound, Unavailable
from subclaw.core.signature import Signature
from subclaw.core.upstream import Allowed, Injection, Refused, Upstream
from subclaw.egress.control.connect import answer_connect
from subclaw.egress.control.connect_path import PATH as CONNECT_PATH
from subclaw.egress.control.destination import Destination, destination
from subclaw.egress.control.inject import outgoing, outgoing_target
from subclaw.egress.control.mail import Post, answer_mail
from subclaw.egress.control.mail_path import PREFIX as MAIL_PREFIX
from subclaw.egress.control.messages import MessageInjector
from subclaw.egress.control.tenant_calls import TenantCalls
from subclaw.egress.control.tenant_path import PREFIX as TENANT_PREFIX
from subclaw.egress.control.upstream_calls import decide
from subclaw.egress.control.verify import answer_verify, answer_webhook_secret
from subclaw.egress.control.verify_path import PREFIX, WEBHOOK_SECRET_PREFIX
from subclaw.egress.control.webhook import Webhooks, answer_webhook
from subclaw.egress.control.webhook_path import PATH as WEBHOOK_PATH
from subclaw.egress.http.dial import dial
from subclaw.egress.http.door import Door
from subclaw.egress.http.exchange import Call, Record, forward
from subclaw.egress.http.headers import FRAMING
from subclaw.egress.http.pool import Pool
from subclaw.egress.http.request import Request
from subclaw.egress.http.serving import as_refusal, serve_requests
from subclaw.egress.http.stream import Stream
from subclaw.egress.http.websocket import bridge
from subclaw.egress.limits import Limits
from subclaw.egress.oauth.accounts import Accounts
from subclaw.egress.refusal import Refusal
from subclaw.egress.secrets.opened import Opened
from subclaw.egress.vault import Vault

_log = logging.getLogger(__name__)
_KNOWN_METHODS = frozenset(b"GET HEAD POST PUT PATCH DELETE OPTIONS".split())


@dataclass(frozen=True, kw_only=True)
class ControlDoor:
    """What the control plane may call, and whose `signatures` can be checked, by the name of the scheme.

    With `tenant_calls` it may call for tenants what those may reach.
    """

    upstreams: Mapping[str, Upstream]
    pools: Mapping[str, Pool]
    vault: Vault
    signatures: Mapping[str, Signature]
    limits: Limits
    accounts: Accounts | None = None
    post: Post = field(default_factory=Post)
    tenant_calls: TenantCalls | None = None
    webhooks: Webhooks | None = None
    open: set[Stream] = field(default_factory=set)

    async def serve(self, stream: Stream) -> None:
        """Serve one connection of the control plane."""
        door = Door(stream, self.limits, websockets=True)
        try:
            if len(self.open) >= self.limits.connections:
                await door.refuse(Refusal(503, "the gateway has too many connections"))
                return
            self.open.add(stream)
            await serve_requests(door, self._answer, _report)
        finally:
            self.open.discard(stream)
            stream.close()

    def close(self) -> None:
        """End the connections that are kept to upstreams."""
        for pool in self.pools.values():
            pool.close()

    async def _answer(self, door: Door, request: Request, record: Record) -> bool:
        record.method = request.method.decode() if request.method in _KNOWN_METHODS else ""
        target = request.target.decode()
        if target.startswith(PREFIX):
            record.host, record.status = "-verify", 200
            return await answer_verify(door, request, self.vault, self.signatures)
        if target.startswith(WEBHOOK_SECRET_PREFIX):
            record.host, record.status = "-webhook-secret", 200
            return await answer_webhook_secret(door, request, self.vault, self.signatures)
        if target == CONNECT_PATH and self.accounts is not None:
            record.host, record.status = "-connect", 200
            return await answer_connect(door, request, self.accounts)
        if target.startswith(MAIL_PREFIX):
            record.host, record.status = "-mail", 200
            return await answer_mail(door, request, self.vault, self.post)
        if target.startswith(TENANT_PREFIX) and self.tenant_calls is not None:
            record.host = "-tenant"
            return await self.tenant_calls.answer(door, request, record)
        if target == WEBHOOK_PATH and self.webhooks is not None:
            record.host, record.status = "-webhook", 200
            return await answer_webhook(door, request, self.webhooks)
        decision = decide(self.upstreams, request.method.decode(), target)
        if isinstance(decision, Refused):
            raise Refusal(403, decision.reason, unsent=True)
        record.host, is_websocket = decision.upstream.name, bool(request.values(b"upgrade"))
        if is_websocket is not (decision.upstream.injection is Injection.MESSAGE):
            raise Refusal(400, f"{record.host} takes {'no' if is_websocket else 'only'} WebSockets", unsent=True)
        carry = bridge if is_websocket else forward
        return await carry(door, await self._call(request, decision), self.pools[record.host], self.limits, record)

    async def _secret(self, name: str) -> Opened:
        try:
            return await self.vault.secret(name)
        except (NotFound, Corrupt, Unavailable) as error:
            raise Refusal(as_refusal(error).status, error.public, unsent=True) from None

    async def _call(self, request: Request, allowed: Allowed) -> Call:
        name = allowed.upstream.secret
        secret = None if name is None else await self._secret(name)
        headers = outgoing(request.headers, allowed.upstream, secret)
        framing = [(key.lower(), value) for key, value in request.headers if key.lower() in FRAMING]
        call = Call(
            method=request.method,
            target=outgoing_target(allowed.url_path, allowed.upstream, secret),
            headers=headers + framing,
            forms=secret.forms if secret else (),
            authorised=secret is not None,
        )
        if secret is None or allowed.upstream.injection is not Injection.MESSAGE:
            return call
        return replace(call, said=MessageInjector(allowed.upstream.member, secret).feed)


def open_control_door(
    upstreams: Sequence[Upstream],
    vault: Vault,
    signatures: Mapping[str, Signature],
    limits: Limits,
    tls: ssl.SSLContext | None,
    accounts: Accounts | None = None,
    post: Post | None = None,
    tenant_calls: TenantCalls | None = None,
    webhooks: Webhooks | None = None,
) -> ControlDoor:
    """Check the upstreams and make what serves them. Errors: `Invalid`."""
    named = {upstream.name: upstream for upstream in upstreams}
    if len(named) != len(upstreams):
        raise Invalid("Two upstreams have the same name.")
    pools = {name: _pool(destination(upstream), limits, tls) for name, upstream in named.items()}
    return ControlDoor(
        upstreams=named,
        pools=pools,
        vault=vault,
        signatures=signatures,
        limits=limits,
        accounts=accounts,
        post=post or Post(),
        tenant_calls=tenant_calls,
        webhooks=webhooks,
    )


def _pool(where: Destination, limits: Limits, tls: ssl.SSLContext | None) -> Pool:
    context = tls if where.tls else None
    return Pool(functools.partial(dial, where.host, where.host, where.port, context, limits.connect_s), limits)


def _report(record: Record, took_s: float, reason: str) -> None:
    _log.info(
        "call method=%s upstream=%s status=%d sent_bytes=%d received_bytes=%d ms=%.1f reason=%s",
        record.method or "-",
        record.host or "-",
        record.status,
        record.sent_bytes,
        record.received_bytes,
        took_s * 1000,
        reason or "-",
    )
