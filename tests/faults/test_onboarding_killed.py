"""Whoever takes a stranger in is killed at each place: the stranger is in once, with all that was said.

The provider brings a message again until it is acknowledged. The process dies at the N-th fault point that it reaches,
the one after it at the next, and the third goes on to the end.
"""

import itertools
from pathlib import Path
from signal import SIGKILL

import psycopg
from tests.faults.forked import started
from tests.faults.stranger_intake import take_in

from subclaw.core.fault import FaultPoint
from subclaw.store.database import DatabaseAddress, Role

SAID = ["hi", "admin", "carol", "make a page", "name: bob", "more tea"]
REQUEST = ["make a page", "name: ada", "name: login", "blue"]
PEOPLE = {"+15550100001": SAID, "+15550100002": REQUEST}

RUN_S = 60.0


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
    process = started(take_in, address, folder, PEOPLE, at)
    process.join(RUN_S)
    assert process.exitcode in (0, -SIGKILL), f"it ended with {process.exitcode}, or not at all"
    return process.exitcode != 0


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
