"""Synapse, Matrix' reference homeserver, as the package index has it: in an environment of its own, on loopback.

It is one process with SQLite, federates with nobody, and reports nothing. It can be stopped and started again.
"""

import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from bench.peer_products import installed

from subclaw.config import DEFAULT_CACHE
from subclaw.testing.serving import free_port

LOCK = Path(__file__).with_name("synapse.lock")
SERVER_NAME = "matrix.test"
SHARED_SECRET = "a-secret-of-the-tests-alone"
START_LIMIT_S = 60
STOP_LIMIT_S = 20
CALL_LIMIT_S = 30
_UNLIMITED: Mapping[str, Any] = {"per_second": 10_000, "burst_count": 10_000}
_LIMITS = ("message", "registration", "joins_per_room", "invites_sender")
_LIMITS_OF_KINDS = {
    "login": ("address", "account", "failed_attempts"),
    "joins": ("local", "remote"),
    "invites": ("per_room", "per_user", "per_issuer"),
}


@dataclass(frozen=True, kw_only=True)
class Account:
    """An account there: its Matrix id, a device, and the token by which that device speaks."""

    user: str
    device: str
    token: str


@dataclass(kw_only=True)
class Synapse:
    """A homeserver in a folder, at the same port whenever it runs."""

    folder: Path
    port: int
    _process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        """Return its base URL."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Run it; returns once it answers."""
        command = [str(installed_synapse() / "bin" / "python"), "-m", "synapse.app.homeserver"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--config-path", str(self.folder / "homeserver.yaml")],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_LIMIT_S
        while self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(httpx2.TransportError):
                if httpx2.get(f"{self.url}/health", timeout=1, trust_env=False).status_code == 200:
                    return
            time.sleep(0.05)
        said = (self.folder / "log").read_text(errors="replace")[-2_000:]
        raise RuntimeError(f"synapse did not come up: {said}")

    def stop(self) -> None:
        """End it, and wait for that."""
        if self._process is None:
            return
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_LIMIT_S)
        self._process.kill()
        self._process.wait(STOP_LIMIT_S)
        self._process = None

    def register(self, name: str) -> Account:
        """Make an account, with a device.

        Source: https://element-hq.github.io/synapse/latest/admin_api/register_api.html
        """
        path = f"{self.url}/_synapse/admin/v1/register"
        password = secrets.token_hex(8)
        nonce = httpx2.get(path, timeout=CALL_LIMIT_S, trust_env=False).json()["nonce"]
        signed = "\0".join((nonce, name, password, "notadmin")).encode()
        given = {
            "nonce": nonce,
            "username": name,
            "displayname": name.title(),
            "password": password,
            "mac": hmac.new(SHARED_SECRET.encode(), signed, hashlib.sha1).hexdigest(),
        }
        answer = httpx2.post(path, json=given, timeout=CALL_LIMIT_S, trust_env=False).raise_for_status().json()
        return Account(user=answer["user_id"], device=answer["device_id"], token=answer["access_token"])


def installed_synapse() -> Path:
    """Return the environment of synapse, installed in the cache by whoever comes first. Raises: `Missing`."""
    folder = Path(os.environ.get("SUBCLAW_CACHE", DEFAULT_CACHE)) / "peers"
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]
    with (folder / "synapse.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return installed(folder, f"synapse-{digest}", ["--require-hashes", "--requirement", str(LOCK)])


@contextlib.contextmanager
def running_synapse(folder: Path, limits: Mapping[str, Any] | None = None) -> Iterator[Synapse]:
    """Run one in an empty folder for the life of the block. `limits` are settings of its own, such as `rc_message`.

    Without them nothing is limited.
    """
    server = Synapse(folder=folder, port=free_port())
    _configure(server, limits or {})
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _configure(server: Synapse, limits: Mapping[str, Any]) -> None:
    settings: dict[str, Any] = {
        "server_name": SERVER_NAME,
        "public_baseurl": server.url,
        "listeners": [
            {
                "port": server.port,
                "type": "http",
                "bind_addresses": ["127.0.0.1"],
                "resources": [{"names": ["client"]}],
            }
        ],
        "database": {"name": "sqlite3", "args": {"database": str(server.folder / "homeserver.db")}},
        "media_store_path": str(server.folder / "media"),
        "signing_key_path": str(server.folder / "signing.key"),
        "log_config": str(server.folder / "log.yaml"),
        "registration_shared_secret": SHARED_SECRET,
        "macaroon_secret_key": SHARED_SECRET,
        "form_secret": SHARED_SECRET,
        "report_stats": False,
        "suppress_key_server_warning": True,
        "trusted_key_servers": [],
        "federation_domain_whitelist": [],
        "url_preview_enabled": False,
        "presence": {"enabled": False},
        **{f"rc_{name}": _UNLIMITED for name in _LIMITS},
        **{f"rc_{name}": dict.fromkeys(kinds, _UNLIMITED) for name, kinds in _LIMITS_OF_KINDS.items()},
        **limits,
    }
    logging = {
        "version": 1,
        "handlers": {"console": {"class": "logging.StreamHandler"}},
        "root": {"level": "WARNING", "handlers": ["console"]},
        "disable_existing_loggers": False,
    }
    # JSON is YAML.
    (server.folder / "homeserver.yaml").write_text(json.dumps(settings))
    (server.folder / "log.yaml").write_text(json.dumps(logging))
    command = [str(installed_synapse() / "bin" / "generate_signing_key"), "-o", str(server.folder / "signing.key")]
    subprocess.run(command, check=True, capture_output=True, timeout=START_LIMIT_S)
