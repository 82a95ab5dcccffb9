"""The preview of a server in a machine: a hostname on which it is tried before the site's own leads to it."""

from subclaw.core.errors import Invalid
from subclaw.core.machine import PortTrial
from subclaw.core.service_words import no_answer_words, not_listening_words
from subclaw.routes.hostname import site_hostname

PREFIX = "preview--"
"""No site's name has two hyphens in a row."""

_SERVER_ERROR = 500


def preview_hostname(name: str, domain: str) -> str:
    """Return the hostname on which what will be the site `name` is tried."""
    return site_hostname(f"{PREFIX}{name}", domain)


def require_answer(trial: PortTrial, port: int, hostname: str) -> None:
    """Check what came of a trial. Errors: `Invalid`, in words for the model, for a server that cannot be shown."""
    if not trial.is_listening:
        raise Invalid(not_listening_words(port))
    if trial.status is None or trial.status >= _SERVER_ERROR:
        raise Invalid(no_answer_words(port, hostname, trial.status))
