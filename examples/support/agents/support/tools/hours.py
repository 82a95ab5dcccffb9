"""When the shop is open. Each public function is a tool; the model is told its parameters and its docstring."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("Europe/Berlin")
OPENS, CLOSES = time(9), time(17)
WORKING_DAYS = range(5)
"""Monday to Friday. `policy.toml` has the same hours for calls back."""


def opening_hours() -> dict[str, str | bool]:
    """Say when people are in the shop, whether they are now, and when they are next."""
    return _hours_at(datetime.now(UTC))


def _hours_at(now: datetime) -> dict[str, str | bool]:
    local = now.astimezone(ZONE)
    ahead = (datetime.combine(local.date() + timedelta(days=days), OPENS, ZONE) for days in range(8))
    opens = next(at for at in ahead if at.weekday() in WORKING_DAYS and at > local)
    return {
        "hours": "Monday to Friday, 09:00 to 17:00",
        "now": f"{local:%A, %H:%M}",
        "is_open": local.weekday() in WORKING_DAYS and OPENS <= local.time() < CLOSES,
        "opens_next": f"{opens:%A, %d %B, %H:%M}",
    }
