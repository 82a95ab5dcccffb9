"""Fault points: nothing in production, and only where a test says so."""

import ast
import inspect
from pathlib import Path

import pytest

from subclaw.core import fault
from subclaw.core.fault import FaultPoint, install, reached

SOURCES = Path(fault.__file__).parents[1]


def test_nothing_happens_unless_a_test_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fault, "_on_reached", None)
    seen: list[FaultPoint] = []
    reached(FaultPoint.TOOL_STARTED)
    install(seen.append)
    reached(FaultPoint.TOOL_PERFORMED)
    assert seen == [FaultPoint.TOOL_PERFORMED]


def test_nothing_in_the_product_installs_anything() -> None:
    asks = [
        path.name for path in SOURCES.rglob("*.py") if "fault.install" in path.read_text() and path.name != "fault.py"
    ]
    imports = [path.name for path in SOURCES.rglob("*.py") if "install" in imported_from_fault(path)]
    assert asks + imports == []


def imported_from_fault(path: Path) -> set[str]:
    """Return the names that a module takes from the one with the fault points."""
    nodes = ast.walk(ast.parse(path.read_text()))
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module == "subclaw.core.fault"]
    return {alias.name for node in froms for alias in node.names}


def test_every_point_says_what_is_done_there_and_what_is_not() -> None:
    (points,) = [node for node in ast.parse(inspect.getsource(FaultPoint)).body if isinstance(node, ast.ClassDef)]
    after_names = points.body[2::2]
    assert len(after_names) == len(FaultPoint)
    assert all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in after_names)
