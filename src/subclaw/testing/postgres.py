"""PostgreSQL clusters for the life of a block: a private one with a fresh database for each test, and an operator's."""

import asyncio
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg import sql

from subclaw.store.cluster import cluster_command, find_binaries, make_cluster, private_address
from subclaw.store.database import DatabaseAddress, Role
from subclaw.store.provision import provision
from subclaw.testing.serving import free_port

CLUSTER_USER = "subclaw-db"
ROLES = (Role.APP, Role.OPERATOR, Role.EGRESS, Role.HOST)
START_S = 30
INTO_MEMORY = 'mount -t tmpfs tmpfs "$1/memory"; cp -a "$1/data" "$1/memory"; shift; exec "$@"'


@contextmanager
def running_cluster(*, durable: bool = False) -> Iterator[DatabaseAddress]:
    """Run a cluster in a folder of its own; yields the address of its migrated database. Needs root.

    Unless it is to be durable, as in production, it is in memory.
    """
    with _folder() as folder:
        me = subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()
        make_cluster(folder / "data", as_user=AS_CLUSTER_USER, roles={me: ROLES}, owner_user=me)
        with _serving(folder, *(["-c", "fsync=on"] if durable else []), in_memory=not durable):
            address = private_address(folder)
            asyncio.run(provision(address, timeout_s=START_S))
            yield address


@dataclass(frozen=True, kw_only=True)
class SharedCluster:
    """An operator's cluster. `url` is for a user with a password, who owns a database and may make roles, no more."""

    url: str
    administrator_url: str


@contextmanager
def running_shared_cluster(password: str, *, listen: str = "127.0.0.1") -> Iterator[SharedCluster]:
    """Run a cluster as an operator's, reached by TCP with a password from the networks of this host. Needs root."""
    with _folder() as folder:
        port = free_port()
        made = [str(find_binaries() / "initdb"), f"--pgdata={folder / 'data'}", "--username=root", "--encoding=UTF8"]
        made += ["--locale=C.UTF-8", "--auth-local=peer", "--auth-host=scram-sha-256"]
        subprocess.run([*AS_CLUSTER_USER, *made], check=True, capture_output=True)
        with (folder / "data" / "pg_hba.conf").open("a") as access:
            access.write("host all all samenet scram-sha-256\n")
        administrator_url = f"host={folder} port={port} user=root dbname=postgres"
        with _serving(folder, "-c", f"listen_addresses={listen}", "-p", str(port)):
            _until_served(administrator_url)
            with psycopg.connect(administrator_url, autocommit=True) as administrator:
                user = sql.SQL("CREATE ROLE shared LOGIN CREATEROLE PASSWORD {}").format(sql.Literal(password))
                administrator.execute(user)
                administrator.execute("CREATE DATABASE shared OWNER shared")
            yield SharedCluster(
                url=f"postgresql://shared:{password}@{listen}:{port}/shared", administrator_url=administrator_url
            )


AS_CLUSTER_USER = ["setpriv", f"--reuid={CLUSTER_USER}", f"--regid={CLUSTER_USER}", "--clear-groups"]


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="subclaw-db-") as name:
        subprocess.run(["chown", f"{CLUSTER_USER}:", name], check=True)
        yield Path(name)


@contextmanager
def _serving(folder: Path, *options: str, in_memory: bool = False) -> Iterator[None]:
    """Serve the cluster in `data`; in memory it is a copy in a mount namespace of its own, which ends with it."""
    data = folder / "data"
    settings = ["-c", "fsync=off", *options]
    if in_memory:
        (folder / "memory").mkdir()
        data = folder / "memory" / "data"
    command = [*AS_CLUSTER_USER, "--pdeathsig=INT", *cluster_command(data, folder), *settings]
    if in_memory:
        command = ["unshare", "--mount", "sh", "-ec", INTO_MEMORY, "sh", str(folder), *command]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            os.kill(process.pid, signal.SIGINT)
            process.wait(timeout=START_S)


def _until_served(url: str) -> None:
    deadline_s = time.monotonic() + START_S
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.05)
        else:
            return


@contextmanager
def fresh_database(template: DatabaseAddress) -> Iterator[DatabaseAddress]:
    """Copy the migrated database for the life of the block."""
    name = sql.Identifier(f"test_{uuid4().hex}")
    maintenance = psycopg.conninfo.make_conninfo(template.url, dbname="postgres")
    with psycopg.connect(maintenance, autocommit=True) as connection:
        # Copying files costs far less than writing everything to the log, and a checkpoint is nothing in memory.
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE subclaw STRATEGY file_copy").format(name))
        try:
            url = psycopg.conninfo.make_conninfo(template.url, dbname=name.as_string(connection).strip('"'))
            yield replace(template, url=url)
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
