"""The state folder's port: chosen once, kept, held while a box runs, and said when it is taken."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from subclaw.core.errors import Conflict, Invalid
from subclaw.home import Home
from subclaw.ports import reserved_port

LOOPBACK = "127.0.0.1"


@contextmanager
def listening() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen()
        yield listener.getsockname()[1]


def home(tmp_path: Path, name: str) -> Home:
    (tmp_path / name).mkdir()
    return Home(tmp_path / name)


def test_the_first_free_port_is_kept(tmp_path: Path) -> None:
    mine = home(tmp_path, "mine")
    with listening() as busy, reserved_port(mine, LOOPBACK, None, busy, locks=tmp_path / "locks") as port:
        assert port > busy
    with reserved_port(mine, LOOPBACK, None, busy, locks=tmp_path / "locks") as again:
        assert again == port == mine.port()


def test_two_boxes_that_start_at_once_have_two_ports(tmp_path: Path) -> None:
    with listening() as near:
        pass
    with (
        reserved_port(home(tmp_path, "one"), LOOPBACK, None, near, locks=tmp_path / "locks") as one,
        reserved_port(home(tmp_path, "two"), LOOPBACK, None, near, locks=tmp_path / "locks") as two,
    ):
        assert one != two


def test_a_wanted_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with (
        listening() as busy,
        pytest.raises(Conflict, match="SUBCLAW_PORT"),
        reserved_port(home(tmp_path, "mine"), LOOPBACK, busy, 8080, locks=tmp_path / "locks"),
    ):
        pass


def test_an_address_of_another_host_is_said(tmp_path: Path) -> None:
    with (
        pytest.raises(Invalid, match="SUBCLAW_LISTEN"),
        reserved_port(home(tmp_path, "mine"), "192.0.2.1", None, 8080, locks=tmp_path / "locks"),
    ):
        pass
