"""The preview of a server in a machine: a hostname on which it is tried before the site's own leads to it."""

from subclaw.core.errors import Invalid
from subclaw.core.machine import PortTrial
from subclaw.core.service_words import no_answer_words, not_listening_words
from subclaw.core.site_health import Outcome, outcome_of
from subclaw.routes.hostname import site_hostname

PREFIX = "preview--"
"""No site's name has two hyphens in a row."""


def preview_hostname(name: str, domain: str) -> str:
    """Return the hostname on which what will be the site `name` is tried."""
    return site_hostname(f"{PREFIX}{name}", domain)


def require_answer(trial: PortTrial, port: int, hostname: str) -> None:
    """Check what came of a trial. Errors: `Invalid`, in words for the model, for a server that cannot be shown."""
    if not trial.is_listening:
        raise Invalid(not_listening_words(port))
    if outcome_of(trial.status) is not Outcome.SERVED:
        raise Invalid(no_answer_words(port, hostname, trial.status))
