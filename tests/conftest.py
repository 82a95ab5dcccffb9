"""Fixtures for all tests: a real PostgreSQL, a database of one's own."""

from collections.abc import Iterator

import pytest

from subclaw.store.database import DatabaseAddress
from subclaw.testing.postgres import fresh_database, running_cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[DatabaseAddress]:
    with running_cluster() as address:
        yield address


@pytest.fixture
def address(cluster: DatabaseAddress) -> Iterator[DatabaseAddress]:
    with fresh_database(cluster) as address:
        yield address
