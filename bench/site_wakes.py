"""Visits that wake a machine: how long a visitor waits for the answer of a server in a machine that is asleep.

A real Caddy, a host process of its own as in production, and a machine in which a declared service runs. `wake_figures`
is what `bench/sites.py` has of it. Last line: JSON with wake_visit_p50_ms and wake_visit_p99_ms of single visitors who
find the machine asleep, of crowd_visit_p99_ms of the last of a crowd, and errors_during_wake of all.
"""

import asyncio
import json
import statistics
import time
from collections.abc import Sequence

from tests.real.caddy_process import Answer
from tests.real.visit_scene import Scene, site, visited_host

from subclaw.store.database import DatabaseAddress
from subclaw.testing.postgres import running_cluster

WAKES = 30
CROWDS = 3
CROWD = 100
WARM = 50
DAY_S = 86_400
LIMITS = {"wakes_per_hour": 10_000, "requests_per_s": 10_000.0, "burst": 100_000}


def main() -> None:
    """Measure, and print."""
    with running_cluster(durable=True) as address:
        print(json.dumps(wake_figures(address)))


def wake_figures(address: DatabaseAddress) -> dict[str, float]:
    """Measure on a host of its own, with the tenants of a database that has none yet."""
    with visited_host(address, plan={"awake_s_per_day": DAY_S}, visit_limits=LIMITS) as host:

        async def scenario() -> dict[str, float]:
            async with site(host) as scene:
                return await measured(scene)

        return asyncio.run(scenario())


async def measured(scene: Scene) -> dict[str, float]:
    """Measure visits of a machine that is put to sleep before each, and of one that is awake."""
    waits, answers = list[float](), list[Answer]()
    for _ in range(WAKES):
        await scene.sleep()
        waits += await visits(scene, 1, answers)
    crowds = list[float]()
    for _ in range(CROWDS):
        await scene.sleep()
        crowds += await visits(scene, CROWD, answers)
    warm = [wait for _ in range(WARM) for wait in await visits(scene, 1, answers)]
    return {
        "wake_visit_p50_ms": percentile(waits, 50),
        "wake_visit_p99_ms": percentile(waits, 99),
        "crowd_visit_p99_ms": percentile(crowds, 99),
        "awake_visit_p50_ms": percentile(warm, 50),
        "errors_during_wake": sum(answer.status != 200 for answer in answers),
    }


async def visits(scene: Scene, count: int, answers: list[Answer]) -> list[float]:
    """Make so many visits at once; return how long each took, in milliseconds."""

    async def one() -> float:
        began_s = time.perf_counter()
        answers.append(await scene.visit())
        return 1_000 * (time.perf_counter() - began_s)

    return list(await asyncio.gather(*(one() for _ in range(count))))


def percentile(samples: Sequence[float], percent: int) -> float:
    """Return a percentile, to a tenth."""
    return round(statistics.quantiles(samples, n=100, method="inclusive")[percent - 1], 1)


if __name__ == "__main__":
    main()
