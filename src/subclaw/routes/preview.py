"""The preview of a server in a machine: a hostname on which it is tried before the site's own leads to it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from subclaw.core.errors import Invalid
from subclaw.core.machine import PortTrial
from subclaw.core.route import Route
from subclaw.core.service_words import no_answer_words, not_listening_words
from subclaw.core.site_health import Outcome, outcome_of
from subclaw.core.tenant import TenantId
from subclaw.routes.hostname import site_hostname

PREFIX = "preview--"
"""No site's name has two hyphens in a row."""

PREVIEW_S = 3_600.0
"""For how long a server that did not pass its trial can be looked at."""


@dataclass(frozen=True, kw_only=True)
class _Preview:
    hostname: str
    door: str
    until_s: float


class Previews:
    """The previews there are, one a tenant. In memory: a process that begins makes all routes anew, without any."""

    def __init__(self, domain: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._domain = domain
        self._clock = clock
        self._previews: dict[TenantId, _Preview] = {}

    def begin(self, tenant_id: TenantId, name: str, door: str) -> str:
        """Have a door looked at from now on, for a while; return the hostname."""
        hostname, until_s = preview_hostname(name, self._domain), self._clock() + PREVIEW_S
        self._previews[tenant_id] = _Preview(hostname=hostname, door=door, until_s=until_s)
        return hostname

    def end(self, tenant_id: TenantId) -> str | None:
        """Forget a tenant's preview; return its hostname, if there was one."""
        ended = self._previews.pop(tenant_id, None)
        return ended.hostname if ended else None

    def over(self) -> Sequence[TenantId]:
        """Return whose previews have been there for long enough."""
        now_s = self._clock()
        return [tenant_id for tenant_id, preview in self._previews.items() if preview.until_s <= now_s]

    def route(self, tenant_id: TenantId, *, is_private: bool) -> Route | None:
        """Return the route of a tenant's preview, if there is one."""
        preview = self._previews.get(tenant_id)
        return Route(hostname=preview.hostname, door=preview.door, is_private=is_private) if preview else None


def preview_hostname(name: str, domain: str) -> str:
    """Return the hostname on which what will be the site `name` is tried."""
    return site_hostname(f"{PREFIX}{name}", domain)


def require_answer(trial: PortTrial, port: int, hostname: str) -> None:
    """Check what came of a trial. Errors: `Invalid`, in words for the model, for a server that cannot be shown."""
    if not trial.is_listening:
        raise Invalid(not_listening_words(port))
    if outcome_of(trial.status) is not Outcome.SERVED:
        raise Invalid(no_answer_words(port, hostname, trial.status))
