"""How much people may say: limits of the intake, and what is said once when there is too much."""

from dataclasses import dataclass

PAUSE_S = 60
"""For how long nothing is read after it was too much; what is said then says so."""

SLOW_DOWN = (
    "That was faster than I can read. I have not read your last message, and I read nothing for a minute now: please"
    " send it again after that."
)
CROWDED = "Very many people are writing for the first time just now. Please write again in a few minutes."
SUSPENDED = "Whoever runs this has paused your agent. I read nothing here until it goes on."


@dataclass(frozen=True, kw_only=True)
class IntakeLimits:
    """Messages that one sender may write in a minute, how many of them at once, and new senders in a minute.

    None is no limit.
    """

    messages_per_minute: int = 20
    burst: int = 10
    strangers_per_minute: int | None = 60
