"""A box on the operator's own PostgreSQL: another cluster, reached by TCP, with a password and no superuser."""

import re
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from tests.real.box.memory import files_with, told_at_start
from tests.real.box.running import RunningBox, Somebody, ask, running_box, state_folder, visit
from tests.real.box.starting import refused

from subclaw.store.database import DatabaseAddress, Role
from subclaw.testing.postgres import SharedCluster, running_shared_cluster

PASSWORD = "only-the-database-knows"


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[SharedCluster]:
    with running_shared_cluster(PASSWORD) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def outside_box(shared_cluster: SharedCluster) -> Iterator[RunningBox]:
    with state_folder() as home, running_box(home, DATABASE_URL=shared_cluster.url) as box:
        yield box


def test_a_user_without_the_rights_is_told_which(shared_cluster: SharedCluster) -> None:
    with psycopg.connect(shared_cluster.administrator_url, autocommit=True) as administrator:
        administrator.execute(f"CREATE ROLE meek LOGIN PASSWORD '{PASSWORD}'")
        administrator.execute("CREATE DATABASE meek OWNER meek")
    meek = re.sub(r"shared:|shared$", lambda found: found[0].replace("shared", "meek"), shared_cluster.url)
    wrong = shared_cluster.url.replace(PASSWORD, PASSWORD + "-not")
    with state_folder() as home:
        said = refused(home, {"DATABASE_URL": meek})
        assert said == "The user of DATABASE_URL needs CREATEROLE, and CREATE in the database and in its schema public."
        said = refused(home, {"DATABASE_URL": wrong})
        assert "The database of DATABASE_URL cannot be reached: " in said
        assert "password authentication failed for user" in said
        assert PASSWORD not in said


def test_a_page_is_made_and_served(outside_box: RunningBox) -> None:
    (reply,) = ask(outside_box, "make me a page about moss")
    url = re.search(r"http://\S+/", reply)
    assert url, reply
    assert "moss" in visit(outside_box, url[0]).text
    assert not (outside_box.home / "db" / "data").exists(), "there is no private cluster"
    assert "postgres" not in outside_box.children()


def test_a_query_without_a_where_sees_one_tenant(outside_box: RunningBox, shared_cluster: SharedCluster) -> None:
    one, other = Somebody(), Somebody()
    texts = [f"hello {uuid4()}", f"hello {uuid4()}"]
    for somebody, text in zip((one, other), texts, strict=True):
        somebody.ask(outside_box, text)
    address = DatabaseAddress(url=shared_cluster.url, private=False)
    with psycopg.connect(address.conninfo(Role.OWNER)) as owner:
        tenants = [
            owner.execute("SELECT tenant_id FROM inbox WHERE text = %s", [text]).fetchall()[0][0] for text in texts
        ]
    assert tenants[0] != tenants[1]
    with psycopg.connect(address.conninfo(Role.APP)) as connection:
        for query in (
            "SELECT text FROM inbox",
            "SELECT 1 FROM tenant",
            "SELECT 1 FROM event",
            "SELECT 1 FROM identity",
        ):
            assert connection.execute(query.encode()).fetchall() == [], query
        connection.execute("SELECT be_tenant(%s)", [tenants[0]])
        assert connection.execute("SELECT text FROM inbox").fetchall() == [(texts[0],)]
        assert connection.execute("SELECT id FROM tenant").fetchall() == [(tenants[0],)]


def test_only_those_who_speak_to_the_database_know_its_password(outside_box: RunningBox) -> None:
    children = outside_box.children()
    knowing = {name for name, child in children.items() if PASSWORD in told_at_start(child)}
    assert {name.partition("-")[0] for name in knowing} == {"egress", "host", "web", "worker"}
    machines = children["host"].children(recursive=True)
    assert machines, "the machine that the page was made in is awake"
    assert not any(PASSWORD in told_at_start(machine) for machine in machines)
    assert files_with(outside_box.home, b"moss") != [], "the search finds what is there"
    assert files_with(outside_box.home, PASSWORD.encode()) == []
    assert PASSWORD not in outside_box.said.read_text()
