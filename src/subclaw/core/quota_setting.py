"""What an operator sets of a quota."""

from dataclasses import dataclass

from subclaw.core.quota import Quota


@dataclass(frozen=True, kw_only=True)
class QuotaSetting:
    """What is set of a quota; None leaves it as it is for everybody, or as `Quota` has it."""

    requests_per_minute: int | None = None
    connections: int | None = None
    bytes_per_day: int | None = None

    def over(self, quota: Quota) -> Quota:
        """Return a quota with what is set here in place of its own."""
        return Quota(
            requests_per_minute=_or(self.requests_per_minute, quota.requests_per_minute),
            connections=_or(self.connections, quota.connections),
            bytes_per_day=_or(self.bytes_per_day, quota.bytes_per_day),
        )


def _or(setting: int | None, otherwise: int) -> int:
    return otherwise if setting is None else setting
