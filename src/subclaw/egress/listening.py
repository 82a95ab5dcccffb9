"""The gateway's unix socket."""

import os
import socket
from pathlib import Path

from subclaw.core.errors import Conflict, Unavailable

BACKLOG = 512


def bind_socket(path: Path, gid: int) -> socket.socket:
    """Make the listening socket, for its owner and the group `gid` alone (0660); a dead one's file is replaced.

    Errors: `Conflict` if somebody serves it, `Unavailable` if it cannot be made.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_dead(path)
        mask = os.umask(0o117)  # so that it is never open to others, not even before its owner is set
        try:
            listener.bind(os.fspath(path))
        finally:
            os.umask(mask)
        os.chown(path, -1, gid)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise Unavailable(f"The egress gateway cannot listen on {path}: {error.strerror or error}") from error
    except Conflict:
        listener.close()
        raise
    return listener


def _remove_dead(path: Path) -> None:
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise Conflict(f"Another egress gateway serves {path}.")
