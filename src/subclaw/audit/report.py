"""What the audit found: doors, places, crossings; never a word of anybody's."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from subclaw.audit.attacks import customer_name
from subclaw.audit.watch import Crossing, Watch
from subclaw.core.canary import Canary, CanaryKind

PLANTED_IN: Mapping[CanaryKind, str] = {
    CanaryKind.MESSAGE: "prompts",
    CanaryKind.TOOL_RESULT: "prompts",
    CanaryKind.BINDING: "requests of tools",
    CanaryKind.SECRET: "requests of tools",
    CanaryKind.MEMORY: "exports",
    CanaryKind.FILE: "exports",
    CanaryKind.SCHEDULE: "exports",
    CanaryKind.APPROVAL: "rows",
}
"""Where a canary of each kind must have been seen: if it was not, that it is nowhere else proves nothing."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What came of an audit. `unseen` are canaries that were not where they belong; then nothing is proven."""

    customers: int
    duration_s: float
    tried: Mapping[str, int]
    searched: Mapping[str, int]
    crossings: Sequence[Crossing]
    unseen: Sequence[Canary]
    receipts: int

    @property
    def is_clean(self) -> bool:
        """Whether everything was tried and nothing crossed."""
        return not self.crossings and not self.unseen

    def as_json(self) -> dict[str, Any]:
        """Return it as one JSON object."""
        return {
            "customers": self.customers,
            "crossings": len(self.crossings),
            "unseen": len(self.unseen),
            "doors": len(self.tried),
            "tries": sum(self.tried.values()),
            "searched": dict(self.searched),
            "receipts": self.receipts,
            "duration_s": round(self.duration_s, 1),
            "found": list(map(found_row, self.crossings)),
        }


def found_row(crossing: Crossing) -> dict[str, str]:
    """Return one crossing as words: of what, and where."""
    canary = crossing.canary
    return {
        "of": customer_name(canary.customer) if canary else "",
        "what": canary.kind.value if canary else "",
        "area": crossing.area,
        "place": crossing.place,
    }


def report_of(watch: Watch, customers: int, *, duration_s: float, receipts: int) -> Report:
    """Return the report of what was looked at."""
    must = [
        (Canary(customer=number, kind=kind), area) for number in range(customers) for kind, area in PLANTED_IN.items()
    ]
    return Report(
        customers=customers,
        duration_s=duration_s,
        tried=Counter(watch.tried),
        searched=Counter(watch.searched),
        crossings=sorted(watch.crossings, key=lambda each: (each.area, each.place)),
        unseen=[canary for canary, area in must if (canary, area) not in watch.seen],
        receipts=receipts,
    )
