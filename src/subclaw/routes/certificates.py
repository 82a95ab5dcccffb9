"""Who may have a certificate: the router asks before it gets one for a hostname that somebody visits.

Certificate authorities limit how many certificates a domain has in a week, and how often one may fail. Somebody who
visits made-up hostnames must not use that up: so those that are nobody's are refused, after as little work as can be.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from subclaw.core.errors import SubclawError
from subclaw.routes.hostname import is_hostname
from subclaw.routes.https import CERTIFICATE_PATH
from subclaw.store.certificates import Verdict

_log = logging.getLogger(__name__)

HOST_LIMIT = 4
"""Most certificates for one hostname in an hour: enough for a try that failed, and far below what authorities bear."""

NEW_LIMIT = 40
"""Most hostnames in an hour that never had a certificate."""

REFUSED_FOR_S = 30.0
REFUSED_KEPT = 10_000
LOOKUPS_A_SECOND = 50


@dataclass(frozen=True, kw_only=True)
class Question:
    """What the database is asked: see `store.certificates.allow_certificate`."""

    hostname: str
    name: str
    is_known: bool
    new_limit: int


class CertificateGate:
    """Says which hostnames may have a certificate, within bounds of its own on how often anybody is asked."""

    def __init__(
        self,
        *,
        domain: str,
        sites_domain: str,
        serves: Callable[[str], bool],
        allow: Callable[[Question], Awaitable[Verdict]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._domain = domain
        self._below = f".{sites_domain}"
        self._serves = serves
        self._allow = allow
        self._clock = clock
        self._refused = OrderedDict[str, float]()
        self._second, self._lookups = 0, 0

    async def allows(self, hostname: str) -> bool:
        """Say whether a certificate may be had for a hostname. Errors: `Unavailable`."""
        if not is_hostname(hostname) or self._is_refused(hostname) or not self._may_look():
            return False
        name = hostname.removesuffix(self._below) if hostname.endswith(self._below) else ""
        is_ours = hostname == self._domain
        verdict = await self._allow(
            Question(
                hostname=hostname,
                name=name,
                is_known=is_ours or self._serves(hostname),
                new_limit=2**31 - 1 if is_ours else NEW_LIMIT,
            )
        )
        if verdict is not Verdict.ALLOWED:
            self._refuse(hostname)
            if verdict is not Verdict.UNKNOWN:
                _log.warning("%s has no certificate now: %s", hostname, verdict.value)
        return verdict is Verdict.ALLOWED

    def _is_refused(self, hostname: str) -> bool:
        return self._refused.get(hostname, 0.0) > self._clock()

    def _refuse(self, hostname: str) -> None:
        self._refused[hostname] = self._clock() + REFUSED_FOR_S
        self._refused.move_to_end(hostname)
        if len(self._refused) > REFUSED_KEPT:
            self._refused.popitem(last=False)

    def _may_look(self) -> bool:
        """Count a look into the database; there are so many in a second."""
        if self._second != (now := int(self._clock())):
            self._second, self._lookups = now, 0
        self._lookups += 1
        return self._lookups <= LOOKUPS_A_SECOND


def certificates_app(gate: CertificateGate) -> FastAPI:
    """Return the application that the router asks, on a socket of its own: nobody else reaches it."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.get(CERTIFICATE_PATH)
    async def certificate(request: Request) -> Response:
        try:
            allowed = await gate.allows(request.query_params.get("domain", ""))
        except SubclawError:
            return PlainTextResponse("not now\n", status_code=503)
        return PlainTextResponse("yes\n") if allowed else PlainTextResponse("no\n", status_code=403)

    return app
