"""Whether a server in a machine serves its visitors, judged by those alone: nobody is woken to find out.

One that says nothing has stopped. One that answers has errors of its own (a status of 500 and above), which are its
business as long as anything else comes between; but one that has answered nothing else since it was published is no
better than one that says nothing.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum

from subclaw.core.service_words import HOW_TO_DECLARE

FAILURES = 3
FAILING_S = 10.0
"""A server has stopped after so many visits in a row, over at least so many seconds, that it did not serve."""

ERRORS = 10
ERRING_S = 300.0
"""Its agent is told of errors after so many visits in a row, over so many seconds, that had nothing else."""

SERVER_ERROR = 500
"""The first status of those that are the server's errors (RFC 9110 §15.6)."""

TRIAL_S = 20.0
"""For how long a server is tried before it is shown to visitors."""

SPEAKER = "your site"
"""Who tells the agent of it."""


class Outcome(Enum):
    """What became of a visit. What is no HTTP is no answer."""

    SERVED = "served"
    ERROR = "answered with an error of the server's"
    SILENT = "not answered"


class Trouble(StrEnum):
    """What is wrong with a server. The last is told to its agent alone; with the others it is not shown any more."""

    STOPPED = "it has stopped answering"
    NEVER_SERVED = "it has answered nothing but errors since it was published"
    ERRORS = "it has answered nothing but errors for a while"


@dataclass(frozen=True, kw_only=True)
class Run:
    """So many visits in a row, the first at `since_s`."""

    visits: int = 0
    since_s: float

    def lasts(self, visits: int, now_s: float, over_s: float) -> bool:
        """Say whether the run is of so many visits, over so many seconds."""
        return self.visits >= visits and now_s - self.since_s >= over_s


@dataclass(frozen=True, kw_only=True)
class Failing:
    """The visits in a row that were not `served`, and of these the last in a row that were not `answered` at all."""

    unserved: Run
    unanswered: Run | None = None


def outcome_of(status: int | None) -> Outcome:
    """Return what became of a visit by the status of its answer, None if there was none."""
    if status is None:
        return Outcome.SILENT
    return Outcome.ERROR if status >= SERVER_ERROR else Outcome.SERVED


def after_visit(failing: Failing | None, now_s: float, outcome: Outcome) -> Failing | None:
    """Return how a server fails after one more visit, None if it does not."""
    if outcome is Outcome.SERVED:
        return None
    unserved, unanswered = (failing.unserved, failing.unanswered) if failing else (None, None)
    is_silent = outcome is Outcome.SILENT
    return Failing(unserved=_longer(unserved, now_s), unanswered=_longer(unanswered, now_s) if is_silent else None)


def trouble_of(failing: Failing | None, now_s: float, *, is_new: bool) -> Trouble | None:
    """Return what is wrong with a server; one that `is_new` has served nobody since it was published."""
    if failing is None:
        return None
    if failing.unanswered and failing.unanswered.lasts(FAILURES, now_s, FAILING_S):
        return Trouble.STOPPED
    if is_new and failing.unserved.lasts(FAILURES, now_s, FAILING_S):
        return Trouble.NEVER_SERVED
    return Trouble.ERRORS if failing.unserved.lasts(ERRORS, now_s, ERRING_S) else None


def _longer(run: Run | None, now_s: float) -> Run:
    return Run(visits=run.visits + 1, since_s=run.since_s) if run else Run(visits=1, since_s=now_s)


def fallen_back_words(port: int, trouble: Trouble) -> str:
    """Return what the agent is told when an earlier version is served again; its number is to replace {version}."""
    words = f"{_what_is_wrong(port, trouble)}. Version {{version}} of the site is shown again. "
    if trouble is Trouble.STOPPED:
        how = f"Find out why, mend it, and publish the port again. If it is not declared yet, {HOW_TO_DECLARE}."
    else:
        how = "Look at its log, mend it, ask it for its pages yourself, and publish the port again."
    return words + how


def nothing_to_show_words(port: int, trouble: Trouble) -> str:
    """Return what the agent is told when there is no version that could be served instead."""
    words = f"{_what_is_wrong(port, trouble)}, and no earlier version of the site can be shown instead. "
    if trouble is Trouble.STOPPED:
        return f"{words}Start it again, best so that it stays: {HOW_TO_DECLARE}."
    return f"{words}Look at its log, mend it, and ask it for its pages yourself."


def errors_words(port: int) -> str:
    """Return what the agent is told of a server that goes on being shown."""
    wrong = _what_is_wrong(port, Trouble.ERRORS)
    return f"{wrong}. They are shown to the visitors as they are. Look at its log, and mend it if they are not meant."


def _what_is_wrong(port: int, trouble: Trouble) -> str:
    errors = f"errors (status {SERVER_ERROR} and above)"
    did = {
        Trouble.STOPPED: "stopped answering your site's visitors",
        Trouble.NEVER_SERVED: f"has answered every visitor of your site since it was published with {errors}",
        Trouble.ERRORS: f"has answered the last visitors of your site, over {ERRING_S / 60:.0f} minutes, with {errors}",
    }
    return f"The server on port {port} of your machine {did[trouble]}"
