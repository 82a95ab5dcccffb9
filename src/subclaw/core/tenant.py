"""A tenant: one isolated customer, with an agent, a machine and a hostname of its own."""

from collections.abc import Sequence
from typing import NewType, Protocol

TenantId = NewType("TenantId", int)


QUALITIES = """
    amber bright brisk calm clear clever coral cosy crisp eager early fair fancy fleet fresh gentle glad golden grand
    green happy honest jolly keen kind light lively lucky mellow merry mild misty neat noble polite proud quick quiet
    rapid rosy silver smart snowy solid spry sunny sweet swift tidy true velvet vivid warm wise witty
""".split()
THINGS = """
    acorn badger beacon beaver birch brook canyon cedar cloud clover comet coral crane dolphin falcon fern finch fjord
    forest fox garden glade harbor heron island jasper kestrel lagoon lake lantern lark lily linden lynx maple meadow
    meteor mill moss oak ocean orchard otter owl panda pebble pine planet plum poppy prairie puffin quartz raven reef
    river robin rowan sparrow spruce star stone swallow thistle tiger tulip valley walnut willow wren
""".split()


class Chooser(Protocol):
    """A source of choices, such as `random.SystemRandom()`."""

    def choice(self, options: Sequence[str], /) -> str:
        """Return one of the options."""
        ...


def propose_names(chooser: Chooser) -> tuple[str, ...]:
    """Return names for a new tenant, the nicest first; the last ones are unlikely to be taken in a million tenants."""
    pairs = [f"{chooser.choice(QUALITIES)}-{chooser.choice(THINGS)}" for _ in range(3)]
    digits = "23456789"
    return (*pairs, *(f"{pair}-{''.join(chooser.choice(digits) for _ in range(6))}" for pair in pairs))
