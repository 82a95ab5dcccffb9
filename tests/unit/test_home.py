"""The state folder's port: chosen once, kept, and said when it is taken."""

import socket
from pathlib import Path

import pytest

from subclaw.core.errors import Conflict
from subclaw.home import Home, choose_port


def test_the_first_free_port_is_kept(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        busy = listener.getsockname()[1]
        port = choose_port(home, "127.0.0.1", None, busy)
        assert port > busy
    assert choose_port(home, "127.0.0.1", None, busy) == port
    assert home.port() == port


def test_a_wanted_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with pytest.raises(Conflict, match="SUBCLAW_PORT"):
            choose_port(Home(tmp_path), "127.0.0.1", listener.getsockname()[1], 8080)
