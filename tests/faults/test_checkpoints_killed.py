"""Checkpoints and roll-backs that die at one operation on files after another: what is left is the old or the new."""

import errno
import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from tests.disks import at_operation, contents, killed_at, tenant_folder, write

from subclaw.core.errors import Exhausted
from subclaw.machines.disks.checkpoints import make_checkpoint, mend, roll_back

Step = Callable[[Path], object]


def three_turns(home: Path) -> Path:
    """Make a folder with three checkpoints that share nothing."""
    folder = tenant_folder(home, "one")
    for turn, content in (("turn-1", "two"), ("turn-2", "three"), ("turn-3", "now")):
        make_checkpoint(folder, turn)
        write(folder, content)
    return folder


def shared(home: Path) -> Path:
    """Make a folder with three checkpoints that are one file."""
    folder = tenant_folder(home, "one")
    for turn in ("turn-1", "turn-2", "turn-3"):
        make_checkpoint(folder, turn)
    write(folder, "now")
    return folder


def unwritten(home: Path) -> Path:
    """Make a folder whose disk is as the newest of its three checkpoints has it."""
    folder = three_turns(home)
    make_checkpoint(folder, "turn-4")
    return folder


def rolled_back(home: Path) -> Path:
    """Make a folder in which a turn was undone."""
    folder = three_turns(home)
    roll_back(folder, "turn-2")
    return folder


CASES: dict[str, tuple[Callable[[Path], Path], Step]] = {
    "first checkpoint": (lambda home: tenant_folder(home, "one"), lambda folder: make_checkpoint(folder, "new")),
    "fourth checkpoint": (three_turns, lambda folder: make_checkpoint(folder, "new")),
    "nothing written": (unwritten, lambda folder: make_checkpoint(folder, "new")),
    "oldest": (three_turns, lambda folder: roll_back(folder, "turn-1")),
    "middle": (three_turns, lambda folder: roll_back(folder, "turn-2")),
    "newest": (three_turns, lambda folder: roll_back(folder, "turn-3")),
    "shared with newer": (shared, lambda folder: roll_back(folder, "turn-1")),
    "shared with older": (shared, lambda folder: roll_back(folder, "turn-3")),
    "undo the undoing": (rolled_back, lambda folder: roll_back(folder, "before-roll-back")),
    "undo once more": (rolled_back, lambda folder: roll_back(folder, "turn-1")),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is done to a folder. `states` is what it holds before and after; `make` makes it anew at a path."""

    make: Callable[[Path], Path]
    step: Step
    states: tuple[dict[str, str], dict[str, str]]


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    make, step = CASES[request.param]
    folder = make(tmp_path / "wanted")
    before = contents(folder)
    step(folder)
    return Case(make=make, step=step, states=(before, contents(folder)))


def left_over(folder: Path) -> list[str]:
    """Return the names of what is half done."""
    return [path.name for path in folder.rglob(".*") if path.name != ".unchanged"]


def check(folder: Path, case: Case) -> dict[str, str]:
    """Check that a folder, once mended, is in one of the two states, and that its disk shares no file."""
    found = contents(folder)
    assert found in case.states
    assert not left_over(folder)
    assert (folder / "disk.raw").stat().st_nlink == 1
    write(folder, "written later")
    assert contents(folder) == {**found, "disk": "written later"}
    return found


def test_killed_at_any_operation_and_mended(case: Case, tmp_path: Path) -> None:
    found: list[dict[str, str]] = []
    killed = True
    while killed:
        folder = case.make(tmp_path / f"{len(found)}")
        killed = killed_at(len(found), partial(case.step, folder))
        found.append(check(folder, case))
    before, after = case.states
    assert found == [before] * found.count(before) + [after] * found.count(after), "what was new became old again"
    assert found.count(before) >= 2
    assert found.count(after) >= 2


def test_killed_again_while_it_is_mended(case: Case, tmp_path: Path) -> None:
    number = interrupted = 0
    killed = True
    while killed:
        for again in itertools.count():
            folder = case.make(tmp_path / f"{number}-{again}")
            killed = killed_at(number, partial(case.step, folder))
            killed_again = killed_at(again, partial(mend, folder))
            interrupted += killed_again
            check(folder, case)
            if not killed_again:
                break
        number += 1
    assert interrupted >= 1


def test_an_operation_that_fails_is_said_and_leaves_nothing(case: Case, tmp_path: Path) -> None:
    def fail() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    failed: list[bool] = []
    while len(failed) < 2 or failed[-1]:
        folder = case.make(tmp_path / f"{len(failed)}")
        with pytest.MonkeyPatch.context() as patch:
            at_operation(len(failed), fail, patch.setattr)
            failed.append(was_exhausted(partial(case.step, folder)))
        assert not left_over(folder)
        check(folder, case)
    assert len(failed) >= 5


def was_exhausted(call: Callable[[], object]) -> bool:
    """Make a call; say whether it failed because the disk is full."""
    try:
        call()
    except Exhausted:
        return True
    return False
