"""The gateway as a process of its own: who may read its key and use its socket, what it holds, how it ends."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from subclaw.egress.control.client import gateway_client
from subclaw.egress.keys import ensure_key, read_public_key
from subclaw.egress.seal import seal
from subclaw.testing.egress import DEADLINE_S, run
from subclaw.testing.upstream import Connection, Seen, http_upstream, simple

SECRET = "sk-live-0123456789abcdef"
RSS_LIMIT_MB = 60

PROGRAM = """
import logging, os, pathlib, sys, uvloop
from subclaw.core.upstream import Upstream
from subclaw.core.secret import SealedSecret
from subclaw.egress.gateway import EgressSettings, ForControl, serve_egress

folder, sealed, port, gid = pathlib.Path(sys.argv[1]), bytes.fromhex(sys.argv[2]), sys.argv[3], int(sys.argv[4])

async def load():
    return [SealedSecret(name="key", sealed=sealed)]

if int(sys.argv[5]) != os.getuid():
    os.setgroups([])
    os.setgid(gid)
    os.setuid(int(sys.argv[5]))
logging.basicConfig(level=logging.DEBUG)
uvloop.run(serve_egress(EgressSettings(
    key_folder=folder / "keys", control=ForControl(
        socket_path=folder / "run" / "egress.sock", socket_gid=gid, load_secrets=load,
        upstreams=(
            Upstream(name="api", base_url=f"http://127.0.0.1:{port}", secret="key"),
            Upstream(name="far", base_url="https://far.test", secret="key"),
        ),
    ),
)))
"""


@contextmanager
def _gateway(folder: Path, port: int, user: int | None) -> Iterator[subprocess.Popen[bytes]]:
    uid = os.getuid() if user is None else user
    ensure_key(folder / "keys", uid, uid)
    (folder / "run").mkdir()
    os.chown(folder / "run", uid, -1)
    sealed = seal(read_public_key(folder / "keys"), SECRET, "key").hex()
    gid = os.getgid() if user is None else user
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder), sealed, str(port), str(gid), str(uid)],
            stdout=subprocess.DEVNULL,
            stderr=log,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
    try:
        _until_listening(process, folder)
        yield process
    finally:
        process.kill()
        process.wait()


def _until_listening(process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            raise AssertionError((folder / "log").read_text())
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(folder / "run" / "egress.sock"))
            return
        time.sleep(0.02)
    raise AssertionError("the gateway did not start")


async def _until_logged(log: Path, line: bytes, count: int) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while (await asyncio.to_thread(log.read_bytes)).count(line) < count:
            await asyncio.sleep(0.02)


async def _ok(_: Seen, connection: Connection) -> None:
    await connection.write(simple(b"x" * 1_000))


def test_it_is_small_and_ends_when_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with http_upstream(_ok) as api:
            with _gateway(tmp_path, api.port, None) as process:
                async with gateway_client(tmp_path / "run" / "egress.sock") as client:
                    for _ in range(300):
                        assert (await client.post("/api/v1", content=b"x" * 2_000)).status_code == 200
                    rss_mb = psutil.Process(process.pid).memory_info().rss / 1e6
                    assert rss_mb < RSS_LIMIT_MB
                    assert len(api.connections) == 1
                # A call is written down once its answer is out, so perhaps after the client has it.
                await _until_logged(tmp_path / "log", b"method=POST upstream=api status=200", 300)
                process.terminate()
                process.wait(timeout=DEADLINE_S)
            log = (tmp_path / "log").read_bytes()
            assert log.count(b"method=POST upstream=api status=200") == 300
            assert SECRET.encode() not in log

    run(scenario)


@pytest.mark.skipif(os.getuid() != 0, reason="only root starts processes of other users")
def test_it_runs_as_a_user_of_its_own() -> None:
    user = 65_534

    async def scenario(folder: Path) -> None:
        async with http_upstream(_ok) as api:
            with _gateway(folder, api.port, user) as process:
                assert psutil.Process(process.pid).uids().effective == user
                socket_stat = (folder / "run" / "egress.sock").stat()
                assert (socket_stat.st_uid, socket_stat.st_gid, socket_stat.st_mode & 0o777) == (user, user, 0o660)
                async with gateway_client(folder / "run" / "egress.sock") as client:
                    assert (await client.get("/api/v1")).status_code == 200
                assert api.requests[0].headers["authorization"] == f"Bearer {SECRET}"

    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        run(lambda: scenario(Path(name)))
