"""mitmproxy, as the package index has it: in an environment of its own, and run before a TLS server on loopback.

It runs in reverse mode and keeps the Host header: a client's first bytes are then TLS for the host that it wants, as
they are on a connection that was redirected to the gateway.
"""

import contextlib
import fcntl
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
from bench.peer_products import installed

from subclaw.config import DEFAULT_CACHE
from subclaw.testing.serving import free_port

LOCK = Path(__file__).with_name("mitmdump.lock")
START_LIMIT_S = 30
STOP_LIMIT_S = 10


@dataclass(frozen=True, kw_only=True)
class Mitmdump:
    """A mitmdump that serves on loopback. `authority` is the file with its certificate authority."""

    port: int
    authority: Path
    process: psutil.Process


def mitmproxy_version() -> str:
    """Return which one it is."""
    lines = LOCK.read_text().splitlines()
    return next(line.split()[0].removeprefix("mitmproxy==") for line in lines if line.startswith("mitmproxy=="))


def installed_mitmproxy() -> Path:
    """Return the environment of mitmproxy, installed in the cache by whoever comes first. Raises: `Missing`."""
    folder = Path(os.environ.get("SUBCLAW_CACHE", DEFAULT_CACHE)) / "peers"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "mitmproxy.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        arguments = ["--require-hashes", "--requirement", str(LOCK)]
        return installed(folder, f"mitmproxy-{mitmproxy_version()}", arguments)


@contextlib.contextmanager
def running_mitmdump(
    folder: Path,
    upstream_port: int,
    upstream_authority: Path,
    *,
    addon: Path | None = None,
    variables: Mapping[str, str] | None = None,
) -> Iterator[Mitmdump]:
    """Run it before a server on loopback, whose certificate is checked; yields once it serves.

    `folder` is its own, and empty. `addon` is a script for it, which finds `variables` in its environment.
    """
    port = free_port()
    settings = {
        "confdir": str(folder),
        "keep_host_header": "true",
        "connection_strategy": "lazy",  # or it offers its client only what the upstream speaks
        "upstream_cert": "false",
        "ssl_verify_upstream_trusted_ca": str(upstream_authority),
        "flow_detail": "0",
        "termlog_verbosity": "error",
    }
    command = [
        *(str(installed_mitmproxy() / "bin" / "mitmdump"), "--mode", f"reverse:https://127.0.0.1:{upstream_port}"),
        *("--listen-host", "127.0.0.1", "--listen-port", str(port)),
        *(part for name, value in settings.items() for part in ("--set", f"{name}={value}")),
        *(("--scripts", str(addon)) if addon else ()),
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env={**os.environ, **(variables or {})}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        _wait_until_it_serves(process, port, folder / "log")
        yield Mitmdump(port=port, authority=folder / "mitmproxy-ca-cert.pem", process=psutil.Process(process.pid))
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_LIMIT_S)
        process.kill()
        process.wait(STOP_LIMIT_S)


def _wait_until_it_serves(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"mitmdump did not come up: {log.read_text(errors='replace')[-2_000:]}")
