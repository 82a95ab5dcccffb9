"""Whoever takes strangers in: hands in what was not acknowledged, and kills itself at a fault point."""

import os
import random
import signal
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.faults.forked import run_process

from subclaw.core import fault
from subclaw.core.channel import Address, InboundMessage
from subclaw.core.fault import FaultPoint
from subclaw.core.onboarding import OnboardingSettings
from subclaw.store.database import DatabaseAddress, Role, open_database
from subclaw.turns.intake import StoreIntake
from subclaw.turns.reception import Reception


def take_in(address: DatabaseAddress, folder: Path, people: Mapping[str, Sequence[str]], dies_at: int) -> None:
    """Hand in what people say, by address, and die at the `dies_at`th point.

    In the folder, `done` has what was acknowledged, `passed` the points that were reached.
    """
    left = dies_at

    def die(point: FaultPoint) -> None:
        nonlocal left
        with (folder / "passed").open("a") as file:
            file.write(f"{point.value}\n")
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    fault.install(die)
    done = folder / "done"
    done.touch()
    run_process(_hand_in(address, done, frozenset(done.read_text().split()), people))


async def _hand_in(
    address: DatabaseAddress, done: Path, before: frozenset[str], people: Mapping[str, Sequence[str]]
) -> None:
    async with open_database(address, Role.APP, size=1) as database:
        reception = Reception(
            database=database,
            settings=OnboardingSettings(),
            url_of="http://{}.example.org/".format,
            sends=lambda _: True,
            chooser=random.SystemRandom(),
        )
        intake = StoreIntake(database, sends=lambda _: True, public_url="http://localhost", reception=reception)
        for person, texts in people.items():
            for number, text in enumerate(texts):
                id = f"{person}:{number}"
                if id in before:
                    continue
                sender = Address(channel="sms", address=person)
                await intake.receive(
                    InboundMessage(sender=sender, provider_id=id, text=text, received_at=datetime.now(UTC))
                )
                with done.open("a") as file:
                    file.write(f"{id}\n")
