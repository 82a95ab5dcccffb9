"""Unix sockets: made for an owner and a group, and never open to others in between."""

import os
import socket
from pathlib import Path

from subclaw.core.errors import Conflict, Unavailable

BACKLOG = 512


def bind_unix(path: Path, group_id: int | None = None) -> socket.socket:
    """Return a listening, non-blocking unix socket for its owner and a group alone (0660); a dead one is replaced.

    Without `group_id` the group is the folder's (setgid) or the process's.
    Errors: `Conflict` if somebody serves it, `Unavailable` if it cannot be made.
    """
    _remove_dead(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        mask = os.umask(0o117)
        try:
            listener.bind(os.fspath(path))
        finally:
            os.umask(mask)
        if group_id is not None:
            os.chown(path, -1, group_id)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise Unavailable(f"The socket {path} cannot be made: {error.strerror or error}.") from error
    return listener


def _remove_dead(path: Path) -> None:
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
    raise Conflict(f"Another process serves {path}.")
