"""Whoever takes a stranger in is killed at each place: the stranger is in once, with all that was said.

The provider brings a message again until it is acknowledged. The process dies at the N-th fault point that it reaches,
the one after it at the next, and the third goes on to the end.
"""

import itertools
import json
import subprocess
import sys
from pathlib import Path
from signal import SIGKILL

import psycopg

from subclaw.core.fault import FaultPoint
from subclaw.store.database import DatabaseAddress, Role

SAID = ["hi", "admin", "carol", "make a page", "name: bob", "more tea"]
REQUEST = ["make a page", "name: ada", "name: login", "blue"]
PEOPLE = {"+15550100001": SAID, "+15550100002": REQUEST}

PROGRAM = """
import asyncio, json, os, random, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from subclaw.core import fault
from subclaw.core.channel import Address, InboundMessage
from subclaw.core.onboarding import OnboardingSettings
from subclaw.store.database import DatabaseAddress, Role, open_database
from subclaw.turns.intake import StoreIntake
from subclaw.turns.reception import Reception

async def main(url, folder, people, dies_at):
    done, passed, left = Path(folder) / "done", Path(folder) / "passed", int(dies_at)

    def die(point):
        nonlocal left
        with passed.open("a") as file:
            print(point.value, file=file)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    fault.install(die)
    async with open_database(DatabaseAddress(url=url, private=True), Role.APP, size=1) as database:
        reception = Reception(database=database, settings=OnboardingSettings(), url_of="http://{}.example.org/".format,
                              sends=lambda _: True, chooser=random.SystemRandom())
        intake = StoreIntake(database, sends=lambda _: True, public_url="http://localhost", reception=reception)
        for address, texts in json.loads(people).items():
            for number, text in enumerate(texts):
                id = f"{address}:{number}"
                if done.exists() and id in done.read_text().split():
                    continue
                await intake.receive(InboundMessage(
                    sender=Address(channel="sms", address=address), provider_id=id, text=text,
                    received_at=datetime.now(UTC)))
                with done.open("a") as file:
                    print(id, file=file)

asyncio.run(main(*sys.argv[1:]))
"""


def test_a_stranger_is_taken_in_once_whoever_is_killed(address: DatabaseAddress, tmp_path: Path) -> None:
    points: set[str] = set()
    kills = 0
    for number in itertools.count(1):
        folder = tmp_path / str(number)
        folder.mkdir()
        killed = [dies(address, folder, at) for at in (number, 1 + number % 3, 0)]
        look(address)
        points |= set((folder / "passed").read_text().split())
        kills += sum(killed)
        assert not killed[-1]
        if not killed[0]:
            break
        with psycopg.connect(address.conninfo(Role.OWNER), autocommit=True) as connection:
            connection.execute("DELETE FROM tenant")
    assert {FaultPoint.STRANGER_MET, FaultPoint.STRANGER_ADMITTED, FaultPoint.NAME_ANSWERED} <= points
    assert kills > len(points)


def dies(address: DatabaseAddress, folder: Path, at: int) -> bool:
    """Hand in what was not acknowledged; say whether the process died of it."""
    arguments = [address.url, str(folder), json.dumps(PEOPLE), str(at)]
    ended = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], check=False, timeout=60)
    assert ended.returncode in (0, -SIGKILL)
    return ended.returncode != 0


def look(address: DatabaseAddress) -> None:
    """Hold what is stored against what was said."""
    with psycopg.connect(address.conninfo(Role.OWNER)) as connection:

        def texts(query: str, of: str) -> list[str]:
            return [text for (text,) in connection.execute(query.encode(), [of]).fetchall()]

        waiting = (
            "SELECT i.text FROM inbox i JOIN conversation c ON c.id = i.conversation_id"
            " WHERE c.address = %s ORDER BY i.seq"
        )
        answered = (
            "SELECT e.body ->> 'text' FROM event e JOIN conversation c ON c.id = e.conversation_id"
            " WHERE c.address = %s AND e.type = 'message.received' ORDER BY e.seq"
        )
        names = "SELECT t.name FROM tenant t JOIN identity i ON i.tenant_id = t.id WHERE i.address = %s"
        notices = "SELECT i.notice FROM inbox i JOIN conversation c ON c.id = i.conversation_id WHERE c.address = %s"
        one, other = PEOPLE
        assert texts(waiting, one) == ["make a page", "more tea"]
        assert texts(answered, one) == ["hi", "admin", "carol", "name: bob"]
        assert texts(names, one) == ["bob"]
        assert texts(notices, one) == [None, None], "the greeting was the answer to hi"
        assert texts(waiting, other) == ["make a page", "blue"]
        assert texts(answered, other) == ["name: ada", "name: login"]
        assert [bool(notice) for notice in texts(notices, other)] == [True, False]
        for person in PEOPLE:
            replies = texts("SELECT text FROM outbox WHERE address = %s ORDER BY id", person)
            assert len(replies) == len(texts(answered, person)), "each of those answers is one text"
