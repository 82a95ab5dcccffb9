"""Who a machine is told to be, and whether what it then says of itself can be: one memory may start many machines."""

import re
import secrets
import time
import uuid
from collections import deque
from dataclasses import dataclass

from subclaw.machines.guest.answers import Fields, GuestBroken, number

CLOCK_TOLERANCE_NS = 5_000_000_000
REMEMBERED = 4_096
HEXADECIMAL = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What makes a machine unlike any other.

    `boot_id` is a UUID; `machine_id`, 32 hexadecimal digits, is for a disk that has none; `entropy` is secret.
    `authority` is the certificate of its certificate authority (PEM), empty if it has none.
    """

    hostname: str
    boot_id: str
    machine_id: str
    entropy: bytes
    authority: str


@dataclass(frozen=True, kw_only=True)
class SetUp:
    """What came of making a machine a tenant's. `machine_id` is its disk's; `repaired` says that this was mended."""

    machine_id: str
    repaired: bool


def new_identity(hostname: str, authority: str = "") -> Identity:
    """Make an identity that no machine has had."""
    return Identity(
        hostname=hostname,
        boot_id=str(uuid.uuid4()),
        machine_id=secrets.token_hex(16),
        entropy=secrets.token_bytes(64),
        authority=authority,
    )


class Told:
    """The random values that machines have told lately: two that are the same come from machines that are."""

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._values: deque[str] = deque(maxlen=limit)

    def add(self, value: str) -> None:
        """Take one more. Raises `GuestBroken` if it was told before."""
        if value in self._values:
            raise GuestBroken("a machine has the randomness of another")
        self._values.append(value)


TOLD = Told()
"""What the machines of this process have told."""


def set_up_of(answer: Fields, identity: Identity, nonce: str, told: Told) -> SetUp:
    """Check what a machine found of itself after it was set up. Raises `GuestBroken` if it is not who it should be."""
    check_nonce(answer, nonce)
    check_clock(answer)
    if answer.get("hostname") != identity.hostname or answer.get("boot_id") != identity.boot_id:
        raise GuestBroken("a machine has not taken its name or its boot's id")
    machine_id, repaired = hexadecimal(answer, "machine_id"), answer.get("repaired")
    if not isinstance(repaired, bool):
        raise GuestBroken("a machine does not say whether its disk was mended")
    told.add(hexadecimal(answer, "random"))
    return SetUp(machine_id=machine_id, repaired=repaired)


def check_nonce(answer: Fields, nonce: str) -> None:
    """Raise `GuestBroken` unless an answer is to the request with this nonce."""
    if answer.get("nonce") != nonce:
        raise GuestBroken("the agent answered something else")


def check_clock(answer: Fields) -> None:
    """Raise `GuestBroken` unless the machine's clock shows what this host's does."""
    if abs(number(answer, "clock_ns") - time.time_ns()) > CLOCK_TOLERANCE_NS:
        raise GuestBroken("a machine's clock is wrong")


def hexadecimal(answer: Fields, name: str) -> str:
    """Return 32 hexadecimal digits, which are not all 0. Raises `GuestBroken`."""
    value = answer.get(name)
    if not isinstance(value, str) or not HEXADECIMAL.fullmatch(value) or not int(value, 16):
        raise GuestBroken(f"a machine's {name} cannot be")
    return value
