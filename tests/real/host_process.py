"""The host process of the tests: `python -m tests.real.host_process SETTINGS` says "ready" and runs until SIGTERM."""

import asyncio
import contextlib
import json
import logging
import signal
import sys
from pathlib import Path
from typing import Any

from subclaw.core.waking import VisitLimits
from subclaw.machines.host import HostSettings, serve_host
from subclaw.machines.images.image import load_image
from subclaw.machines.workshop import FleetSettings
from subclaw.store.database import DatabaseAddress, Role, open_database
from subclaw.store.house import StoreMirror
from subclaw.store.machines import StoreMachineLedger


async def serve(given: dict[str, Any]) -> None:
    """Run a host until SIGTERM."""
    for name in ("home", "cache", "socket", "forward_folder"):
        given[name] = Path(given[name])
    given["egress_sockets"] = tuple(map(Path, given.get("egress_sockets", ())))
    given["defaults"] = {path: text.encode() for path, text in given.get("defaults", {}).items()}
    given["visit_limits"] = VisitLimits(**given.get("visit_limits", {}))
    image = load_image(given["cache"], given.pop("digest"))
    address, socket = DatabaseAddress(url=given.pop("address"), private=True), given.pop("socket")
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with open_database(address, Role.HOST, size=2) as database:
        ledger, mirror = StoreMachineLedger(database, "host-tests"), StoreMirror(database)
        fleet = FleetSettings(image=image, ledger=ledger, mirror=mirror, **given)
        await serve_host(HostSettings(fleet=fleet, socket=socket), lambda: print("ready", flush=True))  # noqa: T201


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(relativeCreated)d %(name)s %(levelname)s %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(serve(json.loads(sys.argv[1])))
