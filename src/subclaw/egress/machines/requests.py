"""The requests of one connection out of a machine: each decided on by itself, filled with secrets, and carried out."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial

from subclaw.core.completion import HOST
from subclaw.core.errors import Denied, Invalid, Unavailable
from subclaw.core.hostname import full_hostname
from subclaw.core.policy import HTTPS_PORT, Opening, Refused, decide_request
from subclaw.core.secret import BoundSecret
from subclaw.egress.http.door import SEEN_LIMIT, Door
from subclaw.egress.http.exchange import Call, Client, Record, forward, written
from subclaw.egress.http.head import Likeness
from subclaw.egress.http.headers import HOP_BY_HOP, OVERRIDES, Headers, named_by_connection
from subclaw.egress.http.message import RequestHead
from subclaw.egress.http.paths import Path, read_target
from subclaw.egress.http.request import Request
from subclaw.egress.http.websocket import bridge
from subclaw.egress.machines.access import Access
from subclaw.egress.machines.machine import Machine, Noted
from subclaw.egress.oauth.freshness import lost
from subclaw.egress.oauth.renewal import accounts_among, renew_rejected, renew_stale
from subclaw.egress.refusal import Refusal
from subclaw.egress.secrets.placeholders import fill

HTTP_PORT = 80
_ABSOLUTE = re.compile(rb"http://([^/?#]*)(/?[^#]*)", re.IGNORECASE)
_AUTHORITY = re.compile(r"([A-Za-z0-9.-]+)(?::([0-9]{1,5}))?")
_DROPPED = (HOP_BY_HOP - {b"transfer-encoding"}) | OVERRIDES | {b"expect"}
_DROPPED_TO_SEARCH = _DROPPED | {b"accept-encoding", b"range"}
_ASK = " If it is needed, ask for it with the tool ask_for_access."


@dataclass(frozen=True, kw_only=True)
class _Made:
    """What was decided on a request, and the call that was made of it. Both hold for all like it, while `access` does.

    `head` is the call's, written; `used` are the ids of the secrets in it.
    """

    access: Access
    opening: Opening
    call: Call
    head: RequestHead
    length: bytes
    noted: Noted
    used: frozenset[int]


@dataclass(frozen=True, kw_only=True)
class Requests:
    """A connection's requests.

    `host` and `port` are what the connection is for, if it said so before; a proxy's client, whose `port` is None, and
    one that speaks plain HTTP name the host with each request. `refused` says why none of them is to be carried out.
    """

    machine: Machine
    tls: bool
    port: int | None
    host: str | None = None
    refused: str = ""
    _made: dict[Likeness | None, _Made] = field(default_factory=dict)
    """The calls that were made for the last requests, which are mostly alike."""

    async def answer(self, client: Client, request: Request, record: Record) -> bool:
        """Answer one request. See `serving.Answer`."""
        self.machine.meter.take_request()
        made, head = self._made.get(request.likeness), None
        if made is not None and made.access is self.machine.access:
            opening, call, head = made.opening, made.call, self._again(made, request, record)
        else:
            opening, path, target = self._decided(request, record)
            if opening.host == HOST:
                return await self._inside(client, request, path, record)
            call, head = await self._call(request, target, path, opening, record)
        pool = self.machine.pool(opening, tls=self.tls)
        try:
            with self.machine.meter.call():
                if head is None and isinstance(client, Door) and request.values(b"upgrade"):
                    return await bridge(client, call, pool, self.machine.limits, record)
                return await forward(client, call, pool, self.machine.limits, record, head)
        except Denied:  # by where the host's name leads
            record.allowed = False
            raise

    def _again(self, made: _Made, request: Request, record: Record) -> RequestHead:
        """Note a request for which all was made before; return the head that goes out for it."""
        record.host, record.port, record.allowed, record.method, record.path, record.mode, _ = made.noted
        self._bound(record)
        if made.used:
            self.machine.used(made.used)
        return made.head if request.length == made.length else made.head.of_length(request.length)

    def _decided(self, request: Request, record: Record) -> tuple[Opening, Path, str]:
        """Decide on a request; return where it goes, with its path and its target there. Errors: `Refusal`."""
        record.method = request.method.decode()
        record.host, record.port, target = self._site(request)
        if self.refused:
            raise _denied(self.refused)
        path = read_target(target)
        if path is None:
            raise Refusal(400, "the path holds characters that do not belong there")
        record.path = path.canonical
        opening = self._opening(record, path)
        self._bound(record)
        record.mode, record.allowed = opening.mode.value, True
        return opening, path, target.decode()

    def _bound(self, record: Record) -> None:
        """Have this connection end when the host of its last request is open no more."""
        if self.host is None:
            self.machine.bound_for(record.host, record.port)

    async def _inside(self, client: Client, request: Request, path: Path, record: Record) -> bool:
        """Have a request answered by the control plane."""
        if self.machine.inside is None:
            raise Refusal(503, "models cannot be asked from here")
        with self.machine.meter.call():
            return await self.machine.inside.answer(client, request, path.canonical, record, self.machine.meter.count)

    def report(self, record: Record, took_s: float, reason: str) -> None:
        """Note what was decided on a request. See `serving.Report`."""
        if record.method or record.status:  # else there was no request
            noted = self._noted(record, reason)
            self.machine.note(self.machine.tenant_id, noted, record.sent_bytes, record.received_bytes)

    def _noted(self, record: Record, reason: str) -> Noted:
        return Noted(
            host=record.host or self.host or "",
            port=record.port or self.port or 0,
            allowed=record.allowed,
            method=record.method,
            path=record.path,
            mode=record.mode,
            reason="" if record.allowed else reason,
        )

    def _site(self, request: Request) -> tuple[str, int, bytes]:
        """Return the host and port that a request is for, and its target as a path. Errors: `Refusal`."""
        authority, target = request.values(b"host")[0], request.target
        if not target.startswith(b"/"):
            absolute = _ABSOLUTE.fullmatch(target)
            if absolute is None or self.port is not None:
                raise Refusal(400, "the target must be a path")
            if absolute[1].lower() != authority.lower():
                raise Refusal(400, "the target and Host name different hosts")
            target = absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]
        host, port = self._authority(authority.decode())
        if self.host is not None and (host, port) != (self.host, self.port):
            raise Refusal(421, f"this connection is for {self.host}, and the request for another host")
        if self.port not in (None, port):
            raise Refusal(421, f"this connection is for port {self.port}, and the request for another one")
        if not self.tls and port == HTTPS_PORT:
            raise Refusal(400, "this port is for TLS")
        return host, port, target

    def _authority(self, text: str) -> tuple[str, int]:
        found = _AUTHORITY.fullmatch(text)
        if found is None:
            raise Refusal(400, "the host must be a name")
        try:
            host = _hostname(found[1])
        except Invalid as error:
            raise Refusal(400, error.public) from None
        usual = HTTPS_PORT if self.tls else HTTP_PORT
        return host, int(found[2]) if found[2] else usual

    def _opening(self, record: Record, path: Path) -> Opening:
        """Decide on a request. Errors: `Refusal`, with the reason."""
        opening = self.machine.access.decide(record.host, record.port)
        if isinstance(opening, Refused):
            raise _denied(opening.reason)
        if path.doubtful and opening.goes_by_path(record.method):
            raise _denied(f"that path may mean several things, and there are rules about paths of {opening.host}")
        decision = decide_request(opening, record.method, path.canonical)
        if isinstance(decision, Refused):
            raise _denied(decision.reason)
        return opening

    async def _call(
        self, request: Request, target: str, path: Path, opening: Opening, record: Record
    ) -> tuple[Call, RequestHead | None]:
        """Make the request that goes out, with secrets as they are to be now, and its head if that is written.

        Errors: as `_filled` and `Renew`.
        """
        used, call = self._filled(request, target, path, opening)
        accounts = accounts_among(used)
        if not accounts:  # those change with time
            return call, self._remembered(request, opening, call, used, record)
        renew = partial(self.machine.renew, self.machine)

        def again() -> Call:
            return self._filled(request, target, path, opening)[1]

        async def renewed() -> Call | None:
            try:
                return again() if await renew_rejected(accounts, renew) else None
            except Unavailable:
                return None  # then the machine is told what the upstream said

        return replace(again() if await renew_stale(accounts, renew) else call, renewed=renewed), None

    def _remembered(
        self, request: Request, opening: Opening, call: Call, used: Sequence[BoundSecret], record: Record
    ) -> RequestHead | None:
        """Keep what was made of a request for the next ones like it; return its head, as it was written for that."""
        if request.likeness is None or request.values(b"upgrade"):
            return None
        head = written(call)
        if len(self._made) >= SEEN_LIMIT:
            self._made.clear()
        self._made[request.likeness] = _Made(
            access=self.machine.access,
            opening=opening,
            call=call,
            head=head,
            length=request.length,
            noted=self._noted(record, ""),
            used=frozenset(secret.id for secret in used),
        )
        return head

    def _filled(
        self, request: Request, target: str, path: Path, opening: Opening
    ) -> tuple[Sequence[BoundSecret], Call]:
        """Put secrets where they belong; return them, and the request that goes out. Errors: `Corrupt`, `Refusal`."""
        held = self.machine.access.held(opening, tls=self.tls)
        headers = onward(request.headers, searched=bool(held.forms))
        filled = fill(request.method.decode(), path, target, headers, held.usable)
        used = [each.secret for each in held.usable if each.secret.id in filled.used]
        for secret in used:
            if secret.grant is not None and secret.grant.over:
                raise lost(secret.grant)
        if used:
            self.machine.used(filled.used)
        call = Call(
            method=request.method,
            target=filled.target,
            headers=filled.headers,
            forms=held.forms,
            authorised=bool(used),
            keep_minted=partial(self.machine.mint, self.machine, used[0]) if used else None,
            count=self.machine.meter.count,
        )
        return used, call


def onward(headers: Headers, *, searched: bool) -> Headers:
    """Return a request's headers without what ends at this hop; names with an underscore are taken for hyphens by some.

    Of an answer that is `searched` for secrets, no compression is asked for.
    """
    dropped = _DROPPED_TO_SEARCH if searched else _DROPPED
    if named := named_by_connection(headers):
        dropped |= named
    kept = [pair for pair in headers if pair[0].lower() not in dropped and b"_" not in pair[0]]
    return [*kept, (b"accept-encoding", b"identity")] if searched else kept


_hostname = lru_cache(maxsize=1_024)(full_hostname)


def _denied(reason: str) -> Refusal:
    return Refusal(403, reason + "." + _ASK, internal=reason)
