"""A box on the operator's own PostgreSQL: another cluster, reached by TCP, with a password and no superuser."""

import os
import re
from collections.abc import Iterator

import psutil
import psycopg
import pytest
from tests.real.box.memory import files_with, told_at_start
from tests.real.box.running import RunningBox, Somebody, ask, running_box, state_folder
from tests.real.box.test_starts import refused

from subclaw.testing.postgres import SharedCluster, running_shared_cluster

PASSWORD = "only-the-database-knows"


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[SharedCluster]:
    with running_shared_cluster(PASSWORD) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def box(shared_cluster: SharedCluster) -> Iterator[RunningBox]:
    with state_folder() as home, running_box(home, DATABASE_URL=shared_cluster.url) as box:
        yield box
