"""Streaming a folder as a tar of its regular files and folders. No link is followed, none is in it."""

import os

from subclaw_guest.commands import end
from subclaw_guest.files import check_folder
from subclaw_guest.link import Stream
from subclaw_guest.processes import Processes, read_some
from subclaw_guest.refusals import Reason, Refused

SCRIPT = (
    "find . -xdev \\( -type f -o -type d \\) -print0 |"
    " tar --create --no-recursion --null --files-from=- --hard-dereference --numeric-owner 2>/dev/null"
)
CHANGED_WHILE_READ = 1
"""tar's exit status when a file changed under it: the archive is whole, and as good as any copy of a live folder."""


async def archive(processes: Processes, stream: Stream, path: str, limit_bytes: int) -> int:
    """Send the tar, at the speed at which it is taken; return its size. Raises `Refused` or `OSError`."""
    child = processes.start(["/bin/sh", "-c", SCRIPT], folder=check_folder(path))
    sent_bytes = 0
    try:
        while piece := await read_some(child.output):
            sent_bytes += len(piece)
            if sent_bytes > limit_bytes:
                raise Refused(Reason.TOO_LARGE)
            await stream.send(piece)
        if await child.exited > CHANGED_WHILE_READ:
            raise Refused(Reason.FAILED)
        return sent_bytes
    finally:
        os.close(child.output)
        if not child.exited.done():
            await end(child)
