"""What the way out through the egress gateway costs, beside mitmproxy's in the same run and a direct connection.

The gateway, mitmproxy, an upstream and the load are processes of their own, on this box. A machine's program speaks TLS
with a certificate of the machine's authority; the gateway decides by about 60 rules on each request, puts a secret into
a header, speaks TLS to the upstream, and searches the answer for the secret. Requests have 2 kB, answers 1 kB, and
connections are kept on both sides. mitmproxy does the same but for the search (`egress_addon.py`), in reverse mode,
which is what is nearest to connections that were redirected out of a machine.

A run has rounds in which both take turns. The last line is one JSON object:
- requests_per_cpu_s, requests_per_cpu_s_h2: requests for each second of processor time of the gateway's process, by
  HTTP/1.1 and by HTTP/2 (each in 10 streams of 2 connections). mitmproxy_requests_per_cpu_s: the same of mitmproxy's.
- ratio_to_mitmproxy: the former by the latter.
- added_p50_ms, added_p99_ms: what the gateway adds to a request that is alone, beside a direct one.
- mb_per_s_100mb, mb_per_s_100mb_searched, mb_per_s_100mb_up: a download, one of a host that has a secret, an upload.
  ratio_to_direct, ratio_to_direct_searched, ratio_to_direct_up: of those to direct ones.
- rss_start_mb, rss_mb, rss_growth_mb: the gateway's memory at the start, at the end, and how much it grew in a long run
  of long_run_requests after the first tenth of it. An hour at 100 a second has 360,000; LONG_RUN_S cuts it short.
- control_cpu_ms_per_request: the control plane's side, by a unix socket and to an upstream without TLS.
"""

import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import uvloop
from bench.egress_load import (
    Connect,
    beside_each_other,
    by_socket,
    by_tls,
    calls,
    calls_h2,
    download,
    post,
    upload,
)
from bench.egress_policy import HOST, OTHER_HOST
from tests.real.mitmdump import running_mitmdump

ROOT = Path(__file__).parent.parent
ROUNDS = 5
REQUESTS_A_ROUND = 2_400
MITMPROXY_REQUESTS_A_ROUND = 600
CLIENTS = 4
ALONE_A_ROUND = 300
TRANSFER_BYTES = 100_000_000
TRANSFERS = 3
HOUR_REQUESTS = 360_000
LONG_RUN_S = float(os.environ.get("LONG_RUN_S", "75"))
TARGET = "/v1/chat/completions?stream=false"


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What was started: the ways to the upstream, and who is measured."""

    gateway: psutil.Process
    mitmproxy: psutil.Process
    through: Connect
    through_h2: Connect
    through_other: Connect
    through_mitmproxy: Connect
    control: Connect
    direct: Connect
    direct_other: Connect
    host: str
    other_host: str


@contextlib.contextmanager
def module(name: str, *arguments: str) -> Iterator[tuple[psutil.Process, list[int]]]:
    """Run a module of this benchmark; yields its process and the numbers that it prints first."""
    command = [sys.executable, "-m", name, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            numbers = [int(word) for word in process.stdout.readline().split()]
            if not numbers:
                raise SystemExit(f"{name} did not start")
            yield psutil.Process(process.pid), numbers
        finally:
            process.kill()


@contextlib.contextmanager
def scene() -> Iterator[Scene]:
    """Start everything."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="subclaw-bench-")))
        outside = folder / "upstream.pem"
        _, (tls_port, plain_port) = stack.enter_context(module("bench.egress_upstream", str(folder)))
        gateway, (port,) = stack.enter_context(
            module("bench.egress_gateway", str(folder), str(tls_port), str(plain_port))
        )
        (folder / "mitmproxy").mkdir()
        mitmdump = stack.enter_context(
            running_mitmdump(
                folder / "mitmproxy",
                tls_port,
                outside,
                addon=ROOT / "bench" / "egress_addon.py",
                variables={"PYTHONPATH": f"{ROOT}/src:{ROOT}", "BENCH_UPSTREAM_PORT": str(tls_port)},
            )
        )
        yield Scene(
            gateway=gateway,
            mitmproxy=mitmdump.process,
            through=by_tls(port, folder / "machine.pem"),
            through_h2=by_tls(port, folder / "machine.pem", alpn="h2"),
            through_other=by_tls(port, folder / "machine.pem", OTHER_HOST),
            through_mitmproxy=by_tls(mitmdump.port, mitmdump.authority),
            control=by_socket(folder / "egress.sock"),
            direct=by_tls(tls_port, outside),
            direct_other=by_tls(tls_port, outside, OTHER_HOST),
            host=f"{HOST}:{tls_port}",
            other_host=f"{OTHER_HOST}:{tls_port}",
        )


async def cpu_s_of(process: psutil.Process, work: Callable[[], Awaitable[object]]) -> float:
    """Do something; return how many seconds of processor time a process took for it."""
    before = process.cpu_times()
    await work()
    after = process.cpu_times()
    return after.user + after.system - before.user - before.system


async def measure_requests(scene: Scene) -> dict[str, float]:
    """Measure the processor time of requests, in rounds in which each has its turn."""
    request = post(TARGET, scene.host)
    control = post("/model/v1/chat", "egress")
    count, few = REQUESTS_A_ROUND, MITMPROXY_REQUESTS_A_ROUND
    works: dict[str, tuple[psutil.Process, int, Callable[[], Awaitable[object]]]] = {
        "h1": (scene.gateway, count, lambda: beside_each_other(scene.through, request, count, CLIENTS)),
        "mitmproxy": (scene.mitmproxy, few, lambda: beside_each_other(scene.through_mitmproxy, request, few, CLIENTS)),
        "h2": (
            scene.gateway,
            count // 2,
            lambda: asyncio.gather(*(calls_h2(scene.through_h2, scene.host, TARGET, count // 4, 10) for _ in range(2))),
        ),
        "control": (scene.gateway, count // 2, lambda: beside_each_other(scene.control, control, count // 2, CLIENTS)),
    }
    rates: dict[str, list[float]] = {name: [] for name in works}
    for number in range(ROUNDS + 1):
        for name, (process, requests, work) in works.items():
            cpu_s = await cpu_s_of(process, work)
            if number:  # the first round warms up
                rates[name].append(requests / cpu_s)
    found = {name: statistics.median(each) for name, each in rates.items()}
    return {
        "requests_per_cpu_s": round(found["h1"]),
        "mitmproxy_requests_per_cpu_s": round(found["mitmproxy"]),
        "ratio_to_mitmproxy": round(found["h1"] / found["mitmproxy"], 1),
        "requests_per_cpu_s_h2": round(found["h2"]),
        "control_cpu_ms_per_request": round(1000 / found["control"], 3),
    }


async def measure_delay(scene: Scene) -> dict[str, float]:
    """Measure what is added to a request that is alone."""
    direct_request = post(TARGET, scene.other_host)
    through, direct = [], []
    for _ in range(ROUNDS):
        through += await calls(scene.through, post(TARGET, scene.host), ALONE_A_ROUND)
        direct += await calls(scene.direct_other, direct_request, ALONE_A_ROUND)
    return {
        "added_p50_ms": round(statistics.median(through) - statistics.median(direct), 3),
        "added_p99_ms": round(statistics.quantiles(through, n=100)[98] - statistics.quantiles(direct, n=100)[98], 3),
    }


async def measure_transfers(scene: Scene) -> dict[str, float]:
    """Measure how fast much goes through."""
    other = (scene.other_host, scene.through_other, scene.direct_other)
    ways = {"": (download, *other), "_searched": (download, scene.host, scene.through, scene.direct)}
    ways |= {"_up": (upload, *other)}
    figures = {}
    for name, (transfer, host, through, direct) in ways.items():
        took_s = [
            (await transfer(through, host, TRANSFER_BYTES), await transfer(direct, host, TRANSFER_BYTES))
            for _ in range(TRANSFERS)
        ]
        through_s, direct_s = (statistics.median(each) for each in zip(*took_s, strict=True))
        figures[f"mb_per_s_100mb{name}"] = round(TRANSFER_BYTES / 1e6 / through_s)
        figures[f"ratio_to_direct{name}"] = round(direct_s / through_s, 2)
    return figures


async def measure_long_run(scene: Scene) -> dict[str, float]:
    """Let requests go on, on connections that are made anew now and then; look at the memory."""
    request, sent = post(TARGET, scene.host), 0
    ends_s, rss = time.perf_counter() + LONG_RUN_S, [scene.gateway.memory_info().rss]
    while sent < HOUR_REQUESTS and time.perf_counter() < ends_s:
        sent += len(await beside_each_other(scene.through, request, 1_000, CLIENTS))
        rss.append(scene.gateway.memory_info().rss)
    return {
        "long_run_requests": sent,
        "rss_mb": round(rss[-1] / 1e6, 1),
        "rss_growth_mb": round((rss[-1] - rss[len(rss) // 10]) / 1e6, 1),
    }


async def measure(scene: Scene) -> dict[str, float]:
    """Measure everything."""
    start = {"rss_start_mb": round(scene.gateway.memory_info().rss / 1e6, 1)}
    requests, delay = await measure_requests(scene), await measure_delay(scene)
    return {**requests, **delay, **await measure_transfers(scene), **start, **await measure_long_run(scene)}


def main() -> None:
    """Start the processes, measure, print, and end them."""
    with scene() as started:
        figures = uvloop.run(measure(started))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
