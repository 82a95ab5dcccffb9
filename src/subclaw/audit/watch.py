"""What the audit has looked at, and the canaries that it found where they must not be."""

from collections import Counter
from dataclasses import dataclass, field

from subclaw.core.canary import Canaries, Canary, CanaryKind

CROSSINGS_LIMIT = 1_000
SEALED = frozenset({CanaryKind.SECRET})
"""What is nowhere in the clear but in what the gateway sends."""
UNSEEN = SEALED | {CanaryKind.BINDING}
"""What neither a model nor a person is ever told, not even the customer's own."""


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """A canary that was found where it must not be: never the words around it. None is one that is mangled."""

    canary: Canary | None
    area: str
    place: str


@dataclass(kw_only=True)
class Watch:
    """Counts by door what was tried and by area what was searched. `seen` are canaries that were where they belong."""

    canaries: Canaries
    tried: Counter[str] = field(default_factory=Counter)
    searched: Counter[str] = field(default_factory=Counter)
    crossings: set[Crossing] = field(default_factory=set)
    seen: set[tuple[Canary, str]] = field(default_factory=set)

    def look(
        self, text: str, *, area: str, place: str, owner: int | None, closed: frozenset[CanaryKind] = UNSEEN
    ) -> None:
        """Search a text. All canaries in it must be the owner's, and of no kind that is closed here, too."""
        self.searched[area] += 1
        for canary in self.canaries.found(text):
            if canary is not None and canary.customer == owner and canary.kind not in closed:
                self.seen.add((canary, area))
            elif len(self.crossings) < CROSSINGS_LIMIT:
                self.crossings.add(Crossing(canary=canary, area=area, place=place))

    def cross(self, place: str, *, area: str) -> None:
        """Note what is wrong without a canary: something was possible that must not be."""
        self.crossings.add(Crossing(canary=None, area=area, place=place))
