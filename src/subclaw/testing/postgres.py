"""A private PostgreSQL cluster for the life of a block, and a fresh database in it for each test."""

import asyncio
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg import sql

from subclaw.store.cluster import cluster_command, make_cluster, private_address
from subclaw.store.database import DatabaseAddress, Role
from subclaw.store.provision import provision

CLUSTER_USER = "subclaw-db"
ROLES = (Role.APP, Role.OPERATOR, Role.EGRESS)


@contextmanager
def running_cluster() -> Iterator[DatabaseAddress]:
    """Run a cluster in a folder of its own; yields the address of its migrated database. Needs root."""
    with tempfile.TemporaryDirectory(prefix="subclaw-db-") as name:
        folder = Path(name)
        as_user = ["setpriv", f"--reuid={CLUSTER_USER}", f"--regid={CLUSTER_USER}", "--clear-groups"]
        subprocess.run(["chown", f"{CLUSTER_USER}:", folder], check=True)
        me = subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()
        make_cluster(folder / "data", as_user=as_user, roles={me: ROLES}, owner_user=me)
        command = [*as_user, "--pdeathsig=INT", *cluster_command(folder / "data", folder)]
        with subprocess.Popen([*command, "-c", "fsync=off"], stderr=subprocess.DEVNULL) as process:
            try:
                address = private_address(folder)
                asyncio.run(provision(address, timeout_s=30))
                yield address
            finally:
                os.kill(process.pid, signal.SIGINT)
                process.wait(timeout=30)


@contextmanager
def fresh_database(template: DatabaseAddress) -> Iterator[DatabaseAddress]:
    """Copy the migrated database for the life of the block."""
    name = sql.Identifier(f"test_{uuid4().hex}")
    maintenance = psycopg.conninfo.make_conninfo(template.url, dbname="postgres")
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE subclaw").format(name))
        try:
            url = psycopg.conninfo.make_conninfo(template.url, dbname=name.as_string(connection).strip('"'))
            yield replace(template, url=url)
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
