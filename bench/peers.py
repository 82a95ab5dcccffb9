"""Peers: the same conversations with subclaw, nanobot and Hermes Agent, in one run, with one zero-latency model.

The peers are installed from the package index, into `--folder` (a folder in subclaw's cache), where the next run finds
them; `peer_products.py` has the versions and says how they are set up. Each product is alone on the box while it is
measured. subclaw is a real `subclaw up`, all of whose processes count, PostgreSQL and Caddy too, and its people are
tenants at the web chat; a peer is one process, one tenant, and its conversations are its sessions over HTTP.

A table, then JSON as the last line. Each product has:
- install_mb: its Python environment. subclaw's golden image is image_mb; Debian's packages are not counted.
- start_s: until it serves, in an empty folder. first_turn_s: its very first message to the reply.
- turn_p50_ms, turn_cpu_ms: a warm turn with nobody else there; at_once_cpu_ms, turns_per_s: 20 conversations at once.
- pss_mb: the memory of all its processes after two turns. memory_mb_per_tenant: for a peer the same; for subclaw what
  all its processes take at the end, divided by the `tenants` it then has; marginal_mb is what one more tenant added.
- prompt_bytes: what the model is sent for "hi there".
A peer that cannot be installed or measured has only `missing`, which says why.

`ratios` compare subclaw with the better peer of each figure, and larger is better for subclaw: cpu (turn_cpu_ms),
memory_per_tenant and prompt_bytes are the peer's divided by subclaw's, turns_per_s is subclaw's divided by the peer's.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx2
import psutil
from bench.idle import folder_bytes
from bench.peer_products import HERMES, KEY, NANOBOT, Missing, Product, installed, serving
from bench.turns import box, converse, cpu_s, fake_model, openai_at
from tests.real.machines import golden_image

from subclaw.config import DEFAULT_CACHE
from subclaw.testing.openai import ANSWER

ROOT = Path(__file__).parent.parent
CONVERSATIONS = 20
TURNS_EACH = 10
TURNS_ALONE = 25
NEWCOMERS = 100
TURN_LIMIT_S = 60.0
LIMIT_S = 600.0
FAILURES = (httpx2.HTTPError, psutil.Error, OSError)
RATIOS = {
    "cpu": ("turn_cpu_ms", False),
    "turns_per_s": ("turns_per_s", True),
    "memory_per_tenant": ("memory_mb_per_tenant", False),
    "prompt_bytes": ("prompt_bytes", False),
}
"""What is compared: the figure's name, and whether more of it is better."""

Figures = dict[str, float | str]


@dataclass(frozen=True, kw_only=True)
class Running:
    """A product that has come up. `converse` takes turns in a new conversation and returns each one's seconds."""

    process: psutil.Process
    converse: Callable[[int], Awaitable[list[float]]]
    model_port: int

    def pss_mb(self) -> float:
        """Return the memory of all its processes, with what several share counted once."""
        pss_bytes = 0
        for process in [self.process, *self.process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                pss_bytes += process.memory_full_info().pss
        return pss_bytes / 2**20

    def together(self, conversations: int, turns: int) -> tuple[float, float]:
        """Hold conversations at once; return the seconds that took, and those of the processors."""

        async def hold() -> None:
            async with asyncio.timeout(LIMIT_S):
                await asyncio.gather(*(self.converse(turns) for _ in range(conversations)))

        asked, used_s, began = asked_of(self.model_port)[0], cpu_s(self.process), time.perf_counter()
        asyncio.run(hold())
        wall_s, used_s = time.perf_counter() - began, cpu_s(self.process) - used_s
        if asked_of(self.model_port)[0] - asked < conversations * turns:
            raise Missing("it answered without its model")
        return wall_s, used_s

    def alone(self, turns: int) -> list[float]:
        """Hold one conversation; return each turn's seconds."""

        async def hold() -> list[float]:
            async with asyncio.timeout(LIMIT_S):
                return await self.converse(turns)

        return asyncio.run(hold())


def asked_of(model_port: int) -> tuple[int, list[int]]:
    """Return how often the model was asked, and the bytes of the last few requests."""
    stats = httpx2.get(f"http://127.0.0.1:{model_port}/stats", trust_env=False).json()
    return stats["requests"], stats["body_bytes"]


def figures(running: Running) -> Figures:
    """Measure what is measured of every product."""
    asked_before, _ = asked_of(running.model_port)
    first_s, _ = running.alone(2)
    asked, sent_bytes = asked_of(running.model_port)
    pss_mb = running.pss_mb()
    running.together(CONVERSATIONS, 1)
    used_s = cpu_s(running.process)
    alone_s = running.alone(TURNS_ALONE)
    used_s = cpu_s(running.process) - used_s
    at_once_s, at_once_cpu_s = running.together(CONVERSATIONS, TURNS_EACH)
    turns = CONVERSATIONS * TURNS_EACH
    return {
        "first_turn_s": round(first_s, 2),
        "turn_p50_ms": round(1000 * statistics.median(alone_s), 1),
        "turn_cpu_ms": round(1000 * used_s / TURNS_ALONE, 1),
        "at_once_cpu_ms": round(1000 * at_once_cpu_s / turns, 1),
        "turns_per_s": round(turns / at_once_s, 1),
        "pss_mb": round(pss_mb, 1),
        "memory_mb_per_tenant": round(pss_mb, 1),
        "prompt_bytes": sent_bytes[-min(asked - asked_before, len(sent_bytes))],
    }


def measure_subclaw(folder: Path, model_port: int) -> Figures:
    """Measure subclaw, with tenants who come and go. Raises: `Missing`."""
    lock = ROOT / "requirements.lock"
    name = f"subclaw-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    environment = installed(folder, name, ["--requirement", str(lock)])
    _, image = golden_image()
    began = time.perf_counter()
    with box(openai_at(model_port)) as (supervisor, url):
        start_s = time.perf_counter() - began
        running = Running(process=supervisor, converse=lambda turns: converse(url, turns), model_port=model_port)
        common = figures(running)
        before_mb = running.pss_mb()
        for _ in range(NEWCOMERS // CONVERSATIONS):
            running.together(CONVERSATIONS, 1)
        after_mb = running.pss_mb()
    tenants = 2 + 2 * CONVERSATIONS + NEWCOMERS
    return {
        "install_mb": round((folder_bytes(environment) + folder_bytes(ROOT / "src")) / 1e6),
        "image_mb": round(folder_bytes(image.golden.parent) / 1e6),
        "start_s": round(start_s, 2),
        **common,
        "memory_mb_per_tenant": round(after_mb / tenants, 2),
        "marginal_mb": round((after_mb - before_mb) / NEWCOMERS, 3),
        "tenants": tenants,
    }


def measure_peer(product: Product, folder: Path, model_port: int) -> Figures:
    """Install a peer and measure it. Raises: `Missing`."""
    name = f"{product.name}-{product.requirement.rpartition('==')[2]}"
    environment = installed(folder, name, [product.requirement])
    with tempfile.TemporaryDirectory(prefix="subclaw-bench-", ignore_cleanup_errors=True) as home:
        began = time.perf_counter()
        with serving(product, environment, Path(home), model_port) as (process, url):
            start_s = time.perf_counter() - began
            running = Running(process=process, converse=lambda turns: talk(url, turns), model_port=model_port)
            common = figures(running)
    install_mb = round(folder_bytes(environment) / 1e6)
    return {"mode": "server", "install_mb": install_mb, "start_s": round(start_s, 2), **common}


async def talk(url: str, turns: int) -> list[float]:
    """Take turns in a new session of a peer; return each one's seconds. Raises: `Missing`."""
    session = uuid.uuid4().hex
    headers = {"Authorization": f"Bearer {KEY}", "X-Hermes-Session-Id": session}
    took_s = []
    async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=TURN_LIMIT_S, trust_env=False) as client:
        for number in range(turns):
            message = {"role": "user", "content": "hi there" if number == 0 else f"and then? {number}"}
            body = {"messages": [message], "session_id": session}
            began = time.perf_counter()
            response = await client.post("/v1/chat/completions", json=body)
            took_s.append(time.perf_counter() - began)
            if response.status_code != 200 or ANSWER not in response.text:
                raise Missing(f"it answered with status {response.status_code}: {response.text[:200]}")
    return took_s


def measured(measure: Callable[[], Figures]) -> Figures:
    """Return what was measured, or why nothing was."""
    try:
        return measure()
    except Missing as reason:
        return {"missing": str(reason)}
    except FAILURES as failure:
        return {"missing": f"it could not be measured: {failure!r}"}


def ratios(subclaw: Figures, peers: list[Figures]) -> dict[str, float]:
    """Compare subclaw with the better peer of each figure, if there is one."""
    found = {}
    for name, (figure, more_is_better) in RATIOS.items():
        theirs = [float(peer[figure]) for peer in peers if figure in peer]
        if not theirs:
            continue
        ours = float(subclaw[figure])
        found[name] = round(ours / max(theirs) if more_is_better else min(theirs) / ours, 2)
    return found


def print_table(products: Mapping[str, Figures]) -> None:
    """Print what was measured, a column for each product."""
    names = dict.fromkeys(name for each in products.values() for name in each if name not in ("missing", "mode"))
    print(f"{'':24}" + "".join(f"{product:>12}" for product in products))
    for name in names:
        print(f"{name:24}" + "".join(f"{each.get(name, '-'):>12}" for each in products.values()))
    for product, each in products.items():
        if "missing" in each:
            print(f"{product} is missing: {each['missing']}")


def main() -> None:
    """Install, measure one after the other, print."""
    cache = Path(os.environ.get("SUBCLAW_CACHE", DEFAULT_CACHE))
    parser = argparse.ArgumentParser(description="Compare subclaw with its peers.")
    parser.add_argument("--folder", type=Path, default=cache / "peers", help="where the peers are kept installed")
    folder = parser.parse_args().folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with fake_model("bench.streaming_model") as port:
        products = {"subclaw": measure_subclaw(folder, port)}
        for peer in (NANOBOT, HERMES):
            products[peer.name] = measured(partial(measure_peer, peer, folder, port))
    print_table(products)
    print(json.dumps({**products, "ratios": ratios(products["subclaw"], [products["nanobot"], products["hermes"]])}))


if __name__ == "__main__":
    main()
