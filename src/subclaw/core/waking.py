"""Who may wake a tenant's machine by a visit, and how often. Rates are kept by buckets."""

import ipaddress
from dataclasses import dataclass
from enum import StrEnum

RESTING_HEADER = "X-Subclaw-Resting"
"""Says in an answer that the machine is not to serve this visit: the router may have a static release that does."""

_ROBOTS = (
    "ahrefsbot amazonbot applebot baiduspider bingbot bingpreview bytespider ccbot claudebot dataforseobot discordbot"
    " dotbot duckduckbot facebookexternalhit googlebot gptbot headlesschrome/ linkedinbot mj12bot petalbot"
    " semrushbot slackbot telegrambot twitterbot uptimerobot whatsapp/ yandexbot zgrab"
).split()


class Refusal(StrEnum):
    """Why a visit is not served by the machine."""

    ROBOT = "a robot wakes nobody"
    TOO_FAST = "the visitor asks too much at once"
    TOO_OFTEN = "visitors woke the machine too often"
    SPENT = "the machine's time for visitors is used up"
    AWAY = "the machine cannot be started now"


@dataclass(frozen=True, kw_only=True)
class VisitLimits:
    """How often visits may wake a tenant's machine, and how fast a visitor may ask, with `burst` requests saved up.

    Each is per tenant; the budgets of machine seconds and the plan's time to stay awake hold beside them.
    """

    wakes_per_hour: int = 60
    requests_per_s: int = 50
    burst: int = 400


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """What may be taken: `level` at `at_s`, of a clock that only goes forward."""

    level: float
    at_s: float


def taken(bucket: Bucket | None, now_s: float, *, per_s: float, most: float) -> Bucket | None:
    """Return the bucket after one was taken from it, None if there is none in it. It fills at a rate up to `most`."""
    level = most if bucket is None else min(most, bucket.level + (now_s - bucket.at_s) * per_s)
    return Bucket(level=level - 1, at_s=now_s) if level >= 1 else None


def is_robot(user_agent: str) -> bool:
    """Say whether a visitor says that it is one of the programs that visit everything, again and again."""
    said = user_agent.lower()
    return any(robot in said for robot in _ROBOTS)


def visitor_of(forwarded_for: str) -> str:
    """Return whom a rate is of, from the router's `X-Forwarded-For`: an address, of IPv6 the network (/64) it is in."""
    try:
        address = ipaddress.ip_address(forwarded_for.rpartition(",")[2].strip())
    except ValueError:
        return ""
    if address.version == 4:
        return str(address)
    return str(ipaddress.ip_network((address, 64), strict=False).network_address)
