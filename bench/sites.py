"""Sites: what 10,000 hostnames cost a visitor, with all machines asleep.

Static sites are served by the router as a box starts it, and, in turns with it, by a plain Caddy with one `file_server`
over the same files, which collects garbage at Go's own pace. Each round measures both, and the ratio is the median of
the rounds' ratios. The load is wrk's, with one thread; it asks for 10,000 files of 3 KB in a random order, each by its
hostname from the one and by its path from the other. wrk is not the bottleneck: the figures say how much of its thread
it used.

Then a route is added to those 10,000 and visited, again and again, and the router is killed and started again.

At last visitors find a machine asleep, alone and in crowds (`bench/site_wakes.py`).

Last line: JSON with static_requests_per_s, plain_requests_per_s, ratio_to_plain_caddy, route_add_p99_ms (until somebody
sees it), routes_made_s (all of them anew), caddy_recovery_s (from kill -9 until a site answers, the start included);
of visits that wake: wake_visit_p50_ms, wake_visit_p99_ms, crowd_visit_p99_ms, errors_during_wake.
"""

import asyncio
import contextlib
import functools
import json
import os
import re
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
from bench.site_wakes import wake_figures
from tests.real.caddy_process import RunningCaddy, get, running_caddy

from subclaw.core.route import Route
from subclaw.testing.postgres import running_cluster
from subclaw.testing.serving import free_port

WRK = "/usr/bin/wrk"
SITES = 10_000
ROUNDS = 15
ROUND_S = 2
CONNECTIONS = 16
ADDED = 300
KILLS = 5
PAGE = b"<!doctype html><title>A site</title>" + b"x" * 3000
DOMAIN = "sites.example"

SCRIPT = """
local requests, random = {}, math.random
math.randomseed(7)
init = function(arguments)
    for n = 1, %d do
        requests[n] = wrk.format("GET", string.format("%s", n), {Host = string.format("%s", n)})
    end
end
request = function() return requests[random(1, %d)] end
"""


def make_sites(folder: Path) -> list[Route]:
    """Write a release for each site, as they are kept; return their routes."""
    routes = []
    for number in range(1, SITES + 1):
        release = folder / "releases" / str(number) / "release"
        release.mkdir(parents=True)
        (release / "index.html").write_bytes(PAGE)
        current = release.with_name("current")
        current.symlink_to("release")
        routes.append(Route(hostname=f"site-{number}.{DOMAIN}", folder=current))
    return routes


@contextlib.asynccontextmanager
async def plain_caddy(folder: Path) -> AsyncIterator[int]:
    """Run a Caddy that has nothing but a file server over all releases, in the same environment; return its port."""
    port = free_port()
    route = {"handle": [{"handler": "file_server", "root": str(folder / "releases")}]}
    server = {
        "listen": [f"127.0.0.1:{port}"],
        "automatic_https": {"disable": True},
        "protocols": ["h1"],
        "routes": [route],
    }
    config = folder / "plain.json"
    settings = {"admin": {"disabled": True}, "apps": {"http": {"servers": {"plain": server}}}}
    await asyncio.to_thread(config.write_text, json.dumps(settings))
    process = await asyncio.create_subprocess_exec(
        "/usr/bin/caddy", "run", "--config", str(config),
        env={"HOME": str(folder)}, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await until(lambda: answers(port, "x", "/1/current/index.html"))
        yield port
    finally:
        process.kill()
        await process.wait()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.002)


async def answers(port: int, hostname: str, target: str = "/") -> bool:
    """Say whether a page is there."""
    try:
        return (await get(port, hostname, target)).body == PAGE
    except OSError:
        return False


async def load(port: int, script: Path) -> tuple[float, float]:
    """Return requests per second, and how much of its thread wrk used meanwhile. Every answer must be a page."""
    process = await asyncio.create_subprocess_exec(
        WRK, "-t1", f"-c{CONNECTIONS}", f"-d{ROUND_S}s", "-s", str(script), f"http://127.0.0.1:{port}",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    await asyncio.sleep(ROUND_S * 0.8)
    times = psutil.Process(process.pid).cpu_times()
    said = (await process.communicate())[0].decode()
    assert "Non-2xx" not in said, said
    assert "Socket errors" not in said, said
    found = re.search(r"Requests/sec:\s+([\d.]+)", said)
    assert found, said
    return float(found[1]), (times.user + times.system) / (ROUND_S * 0.8)


async def compare(caddy: RunningCaddy) -> dict[str, Any]:
    """Load the router and a plain Caddy in turns."""
    ours, theirs = caddy.folder / "ours.lua", caddy.folder / "plain.lua"
    await asyncio.to_thread(ours.write_text, SCRIPT % (SITES, "/index.html", f"site-%d.{DOMAIN}", SITES))
    await asyncio.to_thread(theirs.write_text, SCRIPT % (SITES, "/%d/current/index.html", f"site-%d.{DOMAIN}", SITES))
    rates: list[tuple[float, float]] = []
    used = 0.0
    async with plain_caddy(caddy.folder) as plain:
        for port, script in ((caddy.settings.port, ours), (plain, theirs)):
            await load(port, script)  # both have seen all files once
        for number in range(ROUNDS):
            pair = [(caddy.settings.port, ours), (plain, theirs)]
            measured = [await load(*one) for one in (pair if number % 2 else reversed(pair))]
            if not number % 2:
                measured.reverse()
            rates.append((measured[0][0], measured[1][0]))
            used = max(used, measured[0][1], measured[1][1])
            print(f"round {number}: {rates[-1][0]:,.0f}/s, plain {rates[-1][1]:,.0f}/s", flush=True)
    return {
        "static_requests_per_s": round(statistics.median(ours for ours, _ in rates)),
        "plain_requests_per_s": round(statistics.median(plain for _, plain in rates)),
        "ratio_to_plain_caddy": round(statistics.median(ours / plain for ours, plain in rates), 3),
        "load_generator_used": round(used, 2),
    }


async def add_routes(caddy: RunningCaddy) -> dict[str, Any]:
    """Add routes to those that are there, one after the other, and visit each."""
    took_ms = []
    for number in range(ADDED):
        hostname = f"new-{number}.{DOMAIN}"
        began = time.perf_counter()
        await caddy.routes.put(Route(hostname=hostname, folder=caddy.folder / "releases" / "1" / "current"))
        await until(functools.partial(answers, caddy.settings.port, hostname))
        took_ms.append((time.perf_counter() - began) * 1000)
    return {
        "route_add_p50_ms": round(statistics.median(took_ms), 2),
        "route_add_p99_ms": round(statistics.quantiles(took_ms, n=100)[98], 2),
    }


async def recover(caddy: RunningCaddy) -> dict[str, Any]:
    """Kill the router and start it again."""
    took_s = []
    for _ in range(KILLS):
        began = time.perf_counter()
        await caddy.kill()
        await caddy.start()
        await until(lambda: answers(caddy.settings.port, f"site-{SITES}.{DOMAIN}"))
        took_s.append(time.perf_counter() - began)
    return {"caddy_recovery_s": round(max(took_s), 3)}


async def static_sites() -> dict[str, Any]:
    """Measure sites that need no machine."""
    async with running_caddy(domain="agents.example", sites_domain=DOMAIN) as caddy:
        routes = await asyncio.to_thread(make_sites, caddy.folder)
        began = time.perf_counter()
        await caddy.routes.replace_all(routes)
        figures: dict[str, Any] = {"routes_made_s": round(time.perf_counter() - began, 2)}
        for part in (compare, add_routes, recover):
            figures |= await part(caddy)
        return figures


def main() -> None:
    """Measure, and print the figures."""
    figures: dict[str, Any] = {"sites": SITES, "processors": os.cpu_count()}
    figures |= asyncio.run(static_sites())
    with running_cluster(durable=True) as address:
        figures |= wake_figures(address)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
