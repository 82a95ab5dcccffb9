"""Work with files, which blocks, out of the event loop's way."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from subclaw.machines.disks.disk import disk_error

T = TypeVar("T")


async def in_thread(function: Callable[..., T], *arguments: object) -> T:
    """Run file work in a thread. Raises what it raises, a failure of the host's disk in words."""
    try:
        return await asyncio.to_thread(function, *arguments)
    except OSError as error:
        raise disk_error(error) from error
