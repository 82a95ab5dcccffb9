"""Getting replies out: when to try again, when to believe that one never went out, and what a late one says."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from subclaw.core.channel import NotSeen, NotTold, Trouble

ATTEMPT_LIMIT = 200
"""How often a reply is tried. By its time limit alone it would be some 150 times."""

_RETRIES_S = {Trouble.NETWORK: (1, 600), Trouble.BUSY: (2, 600), Trouble.ACCOUNT: (60, 1_800)}
"""The first wait and the longest; each is twice as long as the one before."""


@dataclass(frozen=True, kw_only=True)
class DeliveryTimes:
    """How patient the outbox is, in seconds.

    A provider is asked about a reply `ask_after_s` after it became unknown. At the last of these an absence is
    believed, since a list may lag behind what was taken. What cannot be asked is asked again after `untold_s` at the
    least. An unknown reply keeps later ones of its conversation back for `hold_s`: a little more than the answer takes.
    A reply that is `late_s` old says so: its words may no longer fit what it answers. How often all this is looked at
    is `tick_s`.
    """

    ask_after_s: tuple[float, ...] = (2, 10, 30)
    untold_s: float = 5
    hold_s: float = 60
    late_s: float = 3_600
    tick_s: float = 1


def retry_delay_s(trouble: Trouble, attempt: int, retry_after_s: float | None) -> float | None:
    """Return how long to wait after the given attempt (1 is the first), or None if no other try is worth it."""
    if trouble in (Trouble.REFUSED, Trouble.FILE):
        return None
    first_s, longest_s = _RETRIES_S[trouble]
    doubled_s = float(min(first_s * 2 ** min(attempt - 1, 30), longest_s))
    return max(doubled_s, min(retry_after_s or 0.0, 3_600.0))


def wording(text: str, *, written_at: datetime, now: datetime, overtaken: bool, times: DeliveryTimes) -> str:
    """Return what is sent of a reply: one that comes late, or after a later one, says when it was written."""
    if not overtaken and now - written_at < timedelta(seconds=times.late_s):
        return text
    written_at, now = written_at.astimezone(UTC), now.astimezone(UTC)
    day = "" if written_at.date() == now.date() else f"{written_at.day} {written_at:%B}, "
    return f"[From {day}{written_at:%H:%M} UTC, delayed] {text}"


@dataclass(frozen=True, kw_only=True)
class AskAgain:
    """Ask the provider again after a while."""

    delay_s: float


@dataclass(frozen=True, kw_only=True)
class SendAgain:
    """It certainly did not go out."""


@dataclass(frozen=True, kw_only=True)
class LeaveUnknown:
    """Nobody will ever know; a person has to look at it."""


def judge(
    sighting: NotSeen | NotTold, *, age_s: float, expired: bool, times: DeliveryTimes
) -> AskAgain | SendAgain | LeaveUnknown:
    """Decide on a reply that the provider did not show, `age_s` after it became unknown.

    It is left unknown only if the provider cannot be asked until the reply has `expired`.
    """
    match sighting:
        case NotSeen() if age_s >= times.ask_after_s[-1]:
            return SendAgain()
        case NotSeen():
            return AskAgain(delay_s=next(after_s for after_s in times.ask_after_s if after_s > age_s) - age_s)
        case NotTold() if expired:
            return LeaveUnknown()
        case _:
            return AskAgain(delay_s=min(max(age_s / 4, times.untold_s), 900.0))
