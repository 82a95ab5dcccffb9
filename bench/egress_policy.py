"""What the machine of the egress benchmark may reach, for the gateway and for mitmproxy's addon alike."""

from subclaw.core.policy import Mode, Rule
from subclaw.core.secret import Binding

HOST = "api.bench.test"
"""Has a secret."""
OTHER_HOST = "files.bench.test"
"""Has none."""
PLACEHOLDER = "sk-bench-00000000000000000000000000000000"
VALUE = "sk-bench-0123456789abcdef0123456789abcdef"
_RULES = 60


def rules(port: int) -> tuple[Rule, ...]:
    """Return the rules, about as many and as various as those of a real machine. Both hosts are on loopback."""
    others = [Rule(host=f"service-{n}.example.com") for n in range(_RULES // 2)]
    below = [Rule(host=f"*.cloud-{n}.example.com", mode=Mode.SPLICE) for n in range(_RULES // 3)]
    denied = [Rule(host=f"*.tracker-{n}.example.com", mode=Mode.DENY) for n in range(_RULES // 6 - 3)]
    here = [
        Rule(host=HOST, ports=(port,), addresses=("127.0.0.1",)),
        Rule(host="*.bench.test", ports=(port,), methods=("DELETE", "PATCH"), mode=Mode.DENY),
        Rule(host=OTHER_HOST, ports=(port,), addresses=("127.0.0.1",)),
    ]
    return (*others, *below, *denied, *here)


def binding(port: int) -> Binding:
    """Return what the secret is for."""
    return Binding(hosts=(HOST,), ports=(port,))
