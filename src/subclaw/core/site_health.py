"""Whether a server in a machine still answers its visitors, judged by those alone: nobody is woken to find out."""

from dataclasses import dataclass

from subclaw.core.service_words import HOW_TO_DECLARE

FAILURES = 3
FAILING_S = 10.0
"""A server has stopped answering after so many visits in a row without an answer, over at least so many seconds."""

TRIAL_S = 20.0
"""For how long a server is tried before it is shown to visitors."""

SPEAKER = "your site"
"""Who tells the agent of it."""


@dataclass(frozen=True, kw_only=True)
class Failing:
    """So many visits in a row have not been answered, the first at `since_s`."""

    visits: int
    since_s: float


def after_visit(failing: Failing | None, now_s: float, *, is_answered: bool) -> Failing | None:
    """Return how a server fails after one more visit, None if it does not."""
    if is_answered:
        return None
    if failing is None:
        return Failing(visits=1, since_s=now_s)
    return Failing(visits=failing.visits + 1, since_s=failing.since_s)


def has_stopped(failing: Failing | None, now_s: float) -> bool:
    """Say whether a server has stopped answering."""
    return failing is not None and failing.visits >= FAILURES and now_s - failing.since_s >= FAILING_S


def fallen_back_words(port: int) -> str:
    """Return what the agent is told when an earlier version is served again; its number is to replace {version}."""
    return (
        f"The server on port {port} of your machine stopped answering your site's visitors. Version {{version}} of the "
        "site is shown again. Find out why, mend it, and publish the port again. If it is not declared yet, "
        f"{HOW_TO_DECLARE}."
    )


def nothing_to_show_words(port: int) -> str:
    """Return what the agent is told when there is no version that could be served instead."""
    return (
        f"The server on port {port} of your machine stopped answering your site's visitors, and no earlier version of "
        f"the site can be shown instead. Start it again, best so that it stays: {HOW_TO_DECLARE}."
    )
