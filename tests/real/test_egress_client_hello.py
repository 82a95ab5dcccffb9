"""The first words of programs that people use, caught on a real socket."""

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from subclaw.egress.machines.client_hello import Hello, read_hello

DEADLINE_S = 30.0


def caught(*command: str) -> Hello:
    """Run a program that connects to `PORT` on this host, and return its hello."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE_S)
        port = str(listener.getsockname()[1])
        program = subprocess.Popen(
            [word.replace("PORT", port) for word in command],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            while True:  # a browser may open connections that it then does not use
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(DEADLINE_S)
                    if hello := _read(connection):
                        return hello
        finally:
            os.killpg(program.pid, signal.SIGKILL)
            program.wait()


def _read(connection: socket.socket) -> Hello | None:
    received = b""
    while (hello := read_hello(received)) is None:
        piece = connection.recv(100)
        if not piece:
            return None
        received += piece
    return hello


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl(version: str) -> None:
    hello = caught(
        *("openssl", "s_client", "-connect", "127.0.0.1:PORT", "-servername", "API.test"),
        "-alpn",
        "h2,http/1.1",
        version,
    )
    assert hello == Hello(server_name="api.test", alpn=(b"h2", b"http/1.1"), encrypted=False)


def test_openssl_without_a_name() -> None:
    hello = caught("openssl", "s_client", "-connect", "127.0.0.1:PORT", "-noservername")
    assert hello == Hello(server_name=None, alpn=(), encrypted=False)


def test_a_browser_with_its_large_hello(tmp_path: Path) -> None:
    rules = "--host-resolver-rules=MAP api.test 127.0.0.1:PORT, MAP * ~NOTFOUND"
    hello = caught(
        *("/usr/bin/chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"),
        *(rules, "https://api.test/"),
    )
    assert hello == Hello(server_name="api.test", alpn=(b"h2", b"http/1.1"), encrypted=True)
