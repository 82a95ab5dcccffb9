"""nanobot and Hermes Agent, as the package index has them: installed, configured for a fake model, and run as servers.

Each runs as it comes, with its own defaults. What is set: the model's address, a port, room for the conversations, and
that it reaches nothing but this host: its home is an empty folder, its environment has no keys, and its proxy for
everything outside does not exist, so that whatever it would fetch fails at once.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil

INSTALL_LIMIT_S = 900
START_LIMIT_S = 90
STOP_LIMIT_S = 10
KEY = "a-key-that-only-this-benchmark-knows"
MODEL = "bench"
NO_PROXY_LISTENS = "http://127.0.0.1:9"


class Missing(Exception):
    """A product that cannot be measured; the message says why, in words."""


@dataclass(frozen=True, kw_only=True)
class Product:
    """A product of the package index that serves OpenAI's chat completions and `/health`.

    `configure(home, port, model_port)` writes what it needs into an empty home. `arguments(home, port)` are a Python
    module and what it is told, `variables(home, port)` what its environment has besides.
    """

    name: str
    requirement: str
    arguments: Callable[[Path, int], Sequence[str]]
    configure: Callable[[Path, int, int], None]
    variables: Callable[[Path, int], dict[str, str]]


def _nanobot_config(home: Path, port: int, model_port: int) -> None:
    provider = {"apiKey": "bench", "apiBase": f"http://127.0.0.1:{model_port}/v1"}
    config = {
        "agents": {"defaults": {"provider": "custom", "model": MODEL, "workspace": str(home / "workspace")}},
        "providers": {"custom": provider},
        "tools": {"web": {"enable": False}},
    }
    (home / "config.json").write_text(json.dumps(config))


def _hermes_config(home: Path, port: int, model_port: int) -> None:
    model = {
        "default": MODEL,
        "provider": "custom",
        "base_url": f"http://127.0.0.1:{model_port}/v1",
        "api_key": "a-key-of-the-fake-model",
        "context_length": 200_000,
    }
    config = {"model": model, "gateway": {"api_server": {"max_concurrent_runs": 0}}}
    (home / "config.yaml").write_text(json.dumps(config))


def _hermes_variables(home: Path, port: int) -> dict[str, str]:
    return {
        "HERMES_HOME": str(home),
        "API_SERVER_ENABLED": "true",
        "API_SERVER_PORT": str(port),
        "API_SERVER_KEY": KEY,
    }


NANOBOT = Product(
    name="nanobot",
    requirement="nanobot-ai[api]==0.3.5",
    arguments=lambda home, port: ["nanobot", "serve", "--config", f"{home}/config.json", "--port", str(port)],
    configure=_nanobot_config,
    variables=lambda home, port: {},
)
HERMES = Product(
    name="hermes",
    requirement="hermes-agent[homeassistant]==0.19.0",  # the smallest of its extras with what its server needs
    arguments=lambda home, port: ["hermes_cli.main", "gateway", "run"],
    configure=_hermes_config,
    variables=_hermes_variables,
)


def installed(folder: Path, name: str, arguments: Sequence[str]) -> Path:
    """Return an environment in which pip has installed something, unless an earlier run did. Raises: `Missing`."""
    environment = folder / name
    mark = environment / "installed"
    if mark.exists():
        return environment
    python = environment / "bin" / "python"
    install = [str(python), "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    try:
        for command in ([sys.executable, "-m", "venv", "--clear", str(environment)], install):
            subprocess.run(command, check=True, timeout=INSTALL_LIMIT_S, capture_output=True)
    except subprocess.TimeoutExpired:
        raise Missing(f"it was not installed within {INSTALL_LIMIT_S} seconds") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        raise Missing(f"it cannot be installed: {said[-1] if said else 'pip failed'}") from None
    mark.touch()
    return environment


@contextlib.contextmanager
def serving(product: Product, environment: Path, home: Path, model_port: int) -> Iterator[tuple[psutil.Process, str]]:
    """Run a product; yields its process and its address once it answers. Raises: `Missing`."""
    port = _free_port()
    product.configure(home, port, model_port)
    command = [str(environment / "bin" / "python"), "-m", *product.arguments(home, port)]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=home,
            env=_environment(environment, home) | product.variables(home, port),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield psutil.Process(process.pid), _answering(f"http://127.0.0.1:{port}", process)
    finally:
        end(process)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _environment(environment: Path, home: Path) -> dict[str, str]:
    return {
        "PATH": f"{environment}/bin:{os.defpath}",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), NO_PROXY_LISTENS),
        **dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1,localhost"),
    }


def _answering(url: str, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx2.TransportError):
            if httpx2.get(f"{url}/health", trust_env=False).status_code == 200:
                return url
        time.sleep(0.05)
    raise Missing("it did not come up")


def end(process: subprocess.Popen[bytes]) -> None:
    """End a product and whatever it started, in groups of their own too."""
    started: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        started = psutil.Process(process.pid).children(recursive=True)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_LIMIT_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for child in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    process.wait(STOP_LIMIT_S)
