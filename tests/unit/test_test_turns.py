"""Turns among the processes of one run of the tests: who is to be alone has nobody beside them, and does get in."""

import fcntl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.real.machines import eventually
from tests.turns import turn


def is_held(lock: Path) -> bool:
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def test_those_who_are_not_alone_go_together(tmp_path: Path) -> None:
    with turn(tmp_path, alone=False), turn(tmp_path, alone=False):
        assert is_held(tmp_path / "room")
        assert not is_held(tmp_path / "gate")
    assert not is_held(tmp_path / "room")


def test_who_is_to_be_alone_is_next(tmp_path: Path) -> None:
    seen: list[str] = []

    def take(name: str, *, alone: bool) -> None:
        with turn(tmp_path, alone=alone):
            seen.append(f"{name} begins")
            seen.append(f"{name} ends")

    with ThreadPoolExecutor(2) as threads:
        with turn(tmp_path, alone=False):
            alone = threads.submit(take, "alone", alone=True)
            eventually(lambda: is_held(tmp_path / "gate"), "nobody waits at the gate")
            later = threads.submit(take, "later", alone=False)
            seen.append("the first ends")
        alone.result()
        later.result()
    assert seen == ["the first ends", "alone begins", "alone ends", "later begins", "later ends"]
