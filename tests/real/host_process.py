"""The host process of the tests: `python -m tests.real.host_process SETTINGS` says "ready" and runs until SIGTERM."""

import asyncio
import contextlib
import json
import logging
import signal
import sys
from pathlib import Path
from typing import Any

from tests.real.machines import NOBODY

from subclaw.machines.host import HostSettings, serve_host
from subclaw.machines.image import load_image
from subclaw.machines.qemu import Owner


async def serve(given: dict[str, Any]) -> None:
    """Run a host until SIGTERM."""
    for name in ("home", "cache", "socket", "forward_folder"):
        given[name] = Path(given[name])
    image = load_image(given["cache"], given.pop("digest"))
    settings = HostSettings(image=image, owner=Owner(user_id=NOBODY, group_id=NOBODY), **given)
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await serve_host(settings, lambda: print("ready", flush=True))  # noqa: T201


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(relativeCreated)d %(name)s %(levelname)s %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(serve(json.loads(sys.argv[1])))
