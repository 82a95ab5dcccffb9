"""A worker dies at one fault point after another of a turn that works in a machine: what it began there is not redone.

Each death has a tenant of its own, with a machine of its own on one host, which goes on.
"""

import asyncio
import itertools
from dataclasses import replace
from pathlib import Path

import psycopg
from tests.faults.findings import find, look
from tests.faults.obedient import DONE, WRITTEN, Trace
from tests.faults.replica import Replica, Said
from tests.faults.test_sweep import NEVER, dies, running_twilio
from tests.real.machines import Host, running_host

from subclaw.core.transcript import OUTCOME_UNKNOWN
from subclaw.store.database import DatabaseAddress, Role

TENANTS = 60
RESULTS = "SELECT body ->> 'content' FROM event WHERE tenant_id = %s AND type = 'tool.finished' ORDER BY seq"
MACHINES = "SELECT tenant_id, generation FROM machine WHERE state = 'awake' ORDER BY tenant_id"


def test_a_worker_may_die_anywhere_while_it_works_in_a_machine(address: DatabaseAddress, tmp_path: Path) -> None:
    unknown = 0
    with (
        running_twilio() as twilio,
        (tmp_path / "host.log").open("w") as log,
        running_host(tmp_path, address, tenants=TENANTS, log=log) as host,
    ):
        for number in itertools.count(1):
            person = arrives(address, number)
            trace = Trace(path=tmp_path / f"{number}.trace")
            said = Said(id=person, channel="web", address=person, text=f"please {person} shell write+shell")
            replica = Replica(
                database_url=address.url,
                private=True,
                trace=str(trace.path),
                twilio_url=twilio.base_url,
                machine_socket=str(host.socket),
                said=(said,),
            )
            killed = [dies(replace(replica, dies_at=at), trace) for at in (number, NEVER)]
            where = f"killed at point {number} of {trace.noted('reached')}"
            found = asyncio.run(find(address, {person: [person]}, trace, []))
            assert (found.all(), found.given_up, killed[-1]) == ([], 0, False), where
            unknown += check_machine(address, host, number, person, where)
            if not killed[0]:
                break
        assert_rows_and_machines_agree(address, host)
    assert unknown > 0, "no command was cut off in the middle"


def arrives(address: DatabaseAddress, number: int) -> str:
    """Give the tenant of this number an address at the web chat; return it."""
    person = f"p{number}"
    with psycopg.connect(address.conninfo(Role.OWNER), autocommit=True) as connection:
        given = [person, number]
        connection.execute("INSERT INTO identity (channel, address, tenant_id) VALUES ('web', %s, %s)", given)
        connection.execute("INSERT INTO conversation (channel, address, tenant_id) VALUES ('web', %s, %s)", given)
    return person


def check_machine(address: DatabaseAddress, host: Host, number: int, person: str, where: str) -> int:
    """Compare the machine with the transcript: each command ran as often as it says. Return how many are unknown."""
    with psycopg.connect(address.conninfo(Role.OWNER)) as connection:
        rows = connection.execute(RESULTS, [number]).fetchall()
    results = [content for (content,) in rows]
    assert len(results) == 3, where
    assert results.count("Wrote 2 bytes.") + results.count("Wrote 3 bytes.") == 1, where
    unknown = results.count(OUTCOME_UNKNOWN)
    ran = host.run(number, f"cat {DONE}").output.decode().split()
    assert set(ran) <= {person}, where
    assert 2 - unknown <= len(ran) <= 2, where
    assert host.run(number, f"cat {WRITTEN}").output.decode() == person, where
    return unknown


def assert_rows_and_machines_agree(address: DatabaseAddress, host: Host) -> None:
    """The machines that are awake by the books are those that are."""
    rows = asyncio.run(look(address, MACHINES))
    awake = sorted((one.tenant_id, one.generation) for one in host.use(lambda client: client.statuses()))
    assert [tuple(row) for row in rows] == awake
    assert len(host.machines()) == len(awake)
