"""The agent's file: its operator's settings, in TOML. What is not in it is as `AgentSettings` has it."""

from datetime import time
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from subclaw.core.agent import Access, AgentSettings, OnBusy
from subclaw.core.errors import Invalid
from subclaw.core.intake_limits import IntakeLimits
from subclaw.core.onboarding import Entry, OnboardingSettings
from subclaw.core.price import Price
from subclaw.core.quiet import QuietHours
from subclaw.core.time_zone import read_zone
from subclaw.models.choice import parse_choice
from subclaw.policy_file import EgressTable, egress_of
from subclaw.toml_file import parse_toml, read_toml

_ToolPattern = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.*?-]{1,64}$")]


_WALL_TIME = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"

_Usd = Annotated[Decimal, Field(strict=False, ge=0, le=1_000_000)]
"""US dollars for a million tokens."""


class _Price(BaseModel):
    """What the file may say of a model's price."""

    model_config = ConfigDict(extra="forbid", strict=True)

    input: _Usd
    output: _Usd
    cache_read: _Usd | None = None
    cache_write: _Usd | None = None


_Words = Annotated[str, Field(min_length=1, max_length=300)]


class _Onboarding(BaseModel):
    """What the file may say of how strangers come in."""

    model_config = ConfigDict(extra="forbid", strict=True)

    entry: Annotated[Entry, Field(strict=False)] = Entry.OPEN
    allow: Annotated[list[Annotated[str, Field(pattern=r"^[a-z*?]+:.{1,200}$")]], Field(max_length=10_000)] = []
    new_tenants_an_hour: Annotated[int, Field(ge=0, le=1_000_000)] = OnboardingSettings.new_tenants_an_hour
    free_messages: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    after_free_messages: _Words = OnboardingSettings.after_free_messages
    about: _Words = OnboardingSettings.about
    greet: bool = True
    prepare_machine: bool = True


class _Limits(BaseModel):
    """What the file may say of how much people may say."""

    model_config = ConfigDict(extra="forbid", strict=True)

    messages_per_minute: Annotated[int, Field(ge=1, le=100_000)] = 20
    burst: Annotated[int, Field(ge=1, le=10_000)] = 10
    strangers_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 60


class _Quiet(BaseModel):
    """What the file may say of quiet hours: times on the wall, `22:00`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    begins: Annotated[str, Field(pattern=_WALL_TIME)]
    ends: Annotated[str, Field(pattern=_WALL_TIME)]
    time_zone: str = "UTC"


class _File(BaseModel):
    """What the file may hold."""

    model_config = ConfigDict(extra="forbid", strict=True)

    on_busy: Annotated[OnBusy, Field(strict=False)] = OnBusy.FOLD
    step_limit: Annotated[int, Field(ge=1, le=200)] = 25
    turn_limit_s: Annotated[int, Field(ge=10, le=86_400)] = 1_800
    turn_limit_tokens: Annotated[int, Field(ge=1, le=10**9)] | None = None
    turn_limit_microusd: Annotated[int, Field(ge=1, le=10**12)] | None = None
    model_limit_s: Annotated[int, Field(ge=5, le=280)] = 120
    fallback: Annotated[list[str], Field(max_length=3)] = []
    cheaper: str = ""
    prices: dict[str, _Price] = {}
    windows: dict[str, Annotated[int, Field(ge=1_000, le=100_000_000)]] = {}
    approve: Annotated[list[_ToolPattern], Field(max_length=100)] = []
    approval_expires_s: Annotated[int, Field(ge=60, le=86_400)] = 3_600
    egress: EgressTable = EgressTable()
    access: Annotated[Access, Field(strict=False)] = Access.USER
    onboarding: _Onboarding = _Onboarding()
    limits: _Limits = _Limits()
    quiet_hours: _Quiet | None = None


def read_agent(path: Path) -> AgentSettings:
    """Read an agent's file; without one everything is as it is by itself. Raises `Invalid`, in words."""
    text = read_toml(path)
    if text is None:
        return AgentSettings()
    try:
        return parse_agent(text)
    except Invalid as error:
        raise Invalid(f"{path}: {error.public}") from error


def parse_agent(text: str) -> AgentSettings:
    """Parse an agent's file. Raises `Invalid`, which says what is wrong and where."""
    found = parse_toml(text, _File)
    entry = {**dict(found.onboarding), "allow": tuple(found.onboarding.allow)}
    changed = {
        "approve": tuple(found.approve),
        "egress": egress_of(found.egress, "egress."),
        "onboarding": OnboardingSettings(**entry),
        "limits": IntakeLimits(**dict(found.limits)),
        "quiet_hours": _quiet_hours(found.quiet_hours) if found.quiet_hours else None,
    }
    return AgentSettings(**{**dict(found), **_models(found), **changed})


def _quiet_hours(found: _Quiet) -> QuietHours:
    read_zone(found.time_zone)
    begins, ends = time.fromisoformat(found.begins), time.fromisoformat(found.ends)
    if begins == ends:
        raise Invalid("quiet_hours: they begin when they end.")
    return QuietHours(begins=begins, ends=ends, time_zone=found.time_zone)


def _models(found: _File) -> dict[str, object]:
    """Return what the file says of models, each named `provider:model`. Raises `Invalid`."""
    return {
        "fallback": tuple(_choice(name, "fallback") for name in found.fallback),
        "cheaper": found.cheaper and _choice(found.cheaper, "cheaper"),
        "prices": {_choice(name, "prices"): Price(**dict(price)) for name, price in found.prices.items()},
        "windows": {_choice(name, "windows"): tokens for name, tokens in found.windows.items()},
    }


def _choice(name: str, setting: str) -> str:
    return str(parse_choice(name, setting))
