"""An agent as its operator sets it: what it does with messages that come while it works, and where it stops."""

from dataclasses import dataclass
from enum import StrEnum


class OnBusy(StrEnum):
    """What becomes of a message that comes while a turn runs.

    It joins the turn at its next step, waits until the turn is over, ends the turn and is answered instead, or is
    answered at once with the word that the agent is busy.
    """

    FOLD = "fold"
    QUEUE = "queue"
    INTERRUPT = "interrupt"
    REJECT = "reject"


@dataclass(frozen=True, kw_only=True)
class AgentSettings:
    """The operator's settings of an agent.

    A turn has at most `step_limit` model calls and takes at most `turn_limit_s`.
    """

    on_busy: OnBusy = OnBusy.FOLD
    step_limit: int = 25
    turn_limit_s: int = 1_800
