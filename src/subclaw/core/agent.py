"""An agent as its operator sets it: what it does with messages that come while it works, and where it stops."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from subclaw.core.intake_limits import IntakeLimits
from subclaw.core.onboarding import OnboardingSettings
from subclaw.core.policy import Rule
from subclaw.core.price import Price
from subclaw.core.quiet import QuietHours


class OnBusy(StrEnum):
    """What becomes of a message that comes while a turn runs.

    It joins the turn at its next step, waits until the turn is over, ends the turn and is answered instead, or is
    answered at once with the word that the agent is busy.
    """

    FOLD = "fold"
    QUEUE = "queue"
    INTERRUPT = "interrupt"
    REJECT = "reject"


class Access(StrEnum):
    """Who may let machines reach a host that is not allowed: each user with an OK, the operator alone, or nobody.

    What an agent asks the operator for waits until they decide on it. With the latter two, secrets can be handed over
    only for hosts that are allowed.
    """

    USER = "user"
    OPERATOR = "operator"
    NEVER = "never"


@dataclass(frozen=True, kw_only=True)
class AgentEgress:
    """What an agent's machines may reach: by its own rules, and by the list that subclaw comes with (`starter`)."""

    rules: tuple[Rule, ...] = ()
    starter: bool = True


@dataclass(frozen=True, kw_only=True)
class AgentSettings:
    """The operator's settings of an agent.

    A turn has at most `step_limit` model calls and takes at most `turn_limit_s`. It uses at most `turn_limit_tokens`,
    which cost at most `turn_limit_microusd`; None is no limit. `fallback` are the models that are
    asked, in this order, when the chosen one cannot be had, and `cheaper` the one for when money gets short; a model
    may take `model_limit_s` for an answer. `prices` and `windows` (tokens) go before what is known of a model. All
    models are named `provider:model`. `approve` are patterns of the names of tools that a person must approve each call
    of, within `approval_expires_s`. `egress` is what its machines may reach, and `access` says who may open more hosts.
    `onboarding` is how strangers come in.
    People may say as much as `limits` has it; in `quiet_hours` nobody is sent what they did not ask for just then.
    """

    on_busy: OnBusy = OnBusy.FOLD
    step_limit: int = 25
    turn_limit_s: int = 1_800
    turn_limit_tokens: int | None = None
    turn_limit_microusd: int | None = None
    model_limit_s: int = 120
    fallback: tuple[str, ...] = ()
    cheaper: str = ""
    prices: Mapping[str, Price] = field(default_factory=dict)
    windows: Mapping[str, int] = field(default_factory=dict)
    approve: tuple[str, ...] = ()
    approval_expires_s: int = 3_600
    egress: AgentEgress = field(default_factory=AgentEgress)
    access: Access = Access.USER
    onboarding: OnboardingSettings = field(default_factory=OnboardingSettings)
    limits: IntakeLimits = field(default_factory=IntakeLimits)
    quiet_hours: QuietHours | None = None
