"""What all tests share: a real PostgreSQL, a database of one's own, and turns where one has to be alone."""

import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.turns import turn

from subclaw.store.database import DatabaseAddress
from subclaw.testing.postgres import fresh_database, running_cluster

TURNS = pytest.StashKey[Path]()


@pytest.fixture(scope="session")
def cluster() -> Iterator[DatabaseAddress]:
    with running_cluster() as address:
        yield address


@pytest.fixture
def address(cluster: DatabaseAddress) -> Iterator[DatabaseAddress]:
    with fresh_database(cluster) as address:
        yield address


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder in which the processes of one run take turns; its workers are told where it is."""
    given: dict[str, Any] | None = getattr(config, "workerinput", None)
    if given is not None:
        config.stash[TURNS] = Path(given["turns"])
        return
    folder = tempfile.TemporaryDirectory(prefix="subclaw-turns-")
    config.add_cleanup(folder.cleanup)
    config.stash[TURNS] = Path(folder.name)


def pytest_configure_node(node: Any) -> None:
    """Tell a worker, before it begins, where its run takes turns: pytest-xdist's hook."""
    node.workerinput["turns"] = str(node.config.stash[TURNS])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test and its fixtures; while one that is marked `alone` runs, no other process of the run has a test."""
    with turn(item.config.stash[TURNS], alone=item.get_closest_marker("alone") is not None):
        return (yield)
