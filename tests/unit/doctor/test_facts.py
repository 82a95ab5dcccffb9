"""Looking at a host: the parsers, and this one for real."""

import os
import socket
import sys
from pathlib import Path

import pytest

import subclaw
from subclaw.doctor import PROGRAMS, gather
from subclaw.doctor.facts import parse_meminfo
from subclaw.doctor.ports import Listener, parse_listeners
from subclaw.machines.cgroups.places import Resource
from subclaw.machines.network import namespace

TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 4242 1 0 100 0 0 10 0
   1: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4343 1 0 100 0 0 10 0
   2: cut
"""


def test_only_listening_sockets_are_taken() -> None:
    assert parse_listeners(TCP) == (Listener(port=5432, uid=101, inode=4242),)
    assert parse_listeners("") == ()


def test_memory_is_read_in_bytes() -> None:
    assert parse_meminfo("MemTotal:  2048 kB\nHugePages_Total: 0\n") == {"MemTotal": 2 * 1024 * 1024}


def test_what_keeps_a_door_from_being_made_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespace, "TUN", str(tmp_path / "no-tun"))
    facts = gather(
        state_folder=tmp_path,
        cache_folder=tmp_path,
        ports=[],
        programs=[],
        package_folder=Path(subclaw.__file__).parent,
    )
    assert "no-tun" in (facts.door_complaint or "")


def test_this_host_is_looked_at(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        facts = gather(
            state_folder=tmp_path / "not/yet/there",
            cache_folder=tmp_path,
            ports=[port],
            programs=[*PROGRAMS, "no-such-program"],
            package_folder=Path(subclaw.__file__).parent,
        )
    (holder,) = facts.port_holders
    assert holder.pid == os.getpid()
    assert facts.programs["setpriv"]
    assert not facts.programs["no-such-program"]
    assert facts.memory_bytes > facts.memory_available_bytes > 0
    assert facts.state_free_bytes > 0
    assert facts.door_complaint == ""
    assert facts.limits is not None
    assert {*facts.limits.places, *facts.limits.missing} == set(Resource)
    assert facts.python == sys.version_info[:2]
    assert facts.product_from_s < facts.now_s
