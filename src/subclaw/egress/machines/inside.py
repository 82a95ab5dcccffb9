"""The one host that is not outside: the control plane, which machines ask for completions under a name of its own.

It is told whose machine asks, in a header, and believes that because of who may use its socket. So nothing that a
machine writes reaches it but the body of a request to one of a few paths: the head is made anew, and no bytes pass
unread. That does not hang on anybody's rules, which can only shut this host.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from subclaw.core.completion import BODY_LIMIT_BYTES, HOST, RULE, TENANT_HEADER
from subclaw.core.tenant import TenantId
from subclaw.egress.http.exchange import Call, Client, Record, forward
from subclaw.egress.http.headers import FRAMING, Headers
from subclaw.egress.http.pool import Pool
from subclaw.egress.http.request import Request
from subclaw.egress.http.wire import Wire
from subclaw.egress.limits import Limits
from subclaw.egress.refusal import Refusal

CALLS_LIMIT = 64
"""Most requests of one machine that are under way there."""

Count = Callable[[int, int], None]
"""Takes how many bytes of content go out and come in, and may raise `Refusal`."""


class Inside:
    """One machine's way to the control plane."""

    def __init__(self, socket_path: Path, tenant_id: TenantId, limits: Limits) -> None:
        self._socket_path = socket_path
        self._limits = limits
        self._tenant_header = (TENANT_HEADER.encode(), b"%d" % tenant_id)
        self._pool = Pool(self._dial, limits)
        self._calls = 0

    async def answer(self, client: Client, request: Request, path: str, record: Record, count: Count) -> bool:
        """Answer a request to a canonical path; return whether the client's connection can go on.

        Errors: `Refusal`; with 404 for a request that is none of those which are answered, with 413 for a body that is
        too large, with 429 for one request too many at once.
        """
        if not RULE.is_about(request.method.decode(), path):
            raise Refusal(404, f"{HOST} answers POST to {' and '.join(RULE.paths)} alone")
        if self._calls >= CALLS_LIMIT:
            raise Refusal(429, f"this machine may ask models {CALLS_LIMIT} things at once, and does so")
        self._calls += 1
        try:
            call = Call(method=request.method, target=path, headers=self._headers(request), count=_Bounded(count).count)
            return await forward(client, call, self._pool, self._limits, record)
        finally:
            self._calls -= 1

    def close(self) -> None:
        """End what is kept open."""
        self._pool.close()

    def _headers(self, request: Request) -> Headers:
        framing = [pair for pair in request.headers if pair[0].lower() in FRAMING]
        return [(b"host", HOST.encode()), self._tenant_header, (b"content-type", b"application/json"), *framing]

    async def _dial(self) -> Wire:
        try:
            _, wire = await asyncio.get_running_loop().create_unix_connection(Wire, str(self._socket_path))
        except OSError as error:
            internal = f"completions: {type(error).__name__}"
            raise Refusal(503, "models cannot be asked just now; try again", internal=internal) from None
        return wire


class _Bounded:
    """Counts a request's content, as far as it may go."""

    def __init__(self, count: Count) -> None:
        self._count = count
        self._sent_bytes = 0

    def count(self, sent_bytes: int, received_bytes: int) -> None:
        """See `Count`. Errors: `Refusal` with 413 too."""
        self._sent_bytes += sent_bytes
        if self._sent_bytes > BODY_LIMIT_BYTES:
            raise Refusal(413, f"the request is larger than {BODY_LIMIT_BYTES:,} bytes")
        self._count(sent_bytes, received_bytes)
