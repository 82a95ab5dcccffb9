"""The router's port: chosen once for a state folder, and reserved while a box runs.

Caddy opens its port in a way that lets a second Caddy of the same user share it (`SO_REUSEPORT`), and each would get
some of the visitors. So a box holds a lock on its port from before Caddy is started to the end.
"""

import fcntl
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from subclaw.core.errors import Conflict, Invalid
from subclaw.home import Home

PORTS_TRIED = 50
LOCKS = Path("/run/subclaw")


@contextmanager
def reserved_port(home: Home, listen: str, wanted: int | None, default: int, *, locks: Path = LOCKS) -> Iterator[int]:
    """Hold a port for the block: the wanted one, else this folder's own, else the first free one from `default` on.

    Errors: `Conflict` if the wanted or the folder's own port is taken, `Invalid` for an address of another host.
    """
    if not _is_free(listen, 0):
        raise Invalid(f"SUBCLAW_LISTEN is {listen!r}, which is not an address of this host.")
    own = wanted or home.port()
    locks.mkdir(exist_ok=True)
    with ExitStack() as held:
        tried = (own,) if own else range(default, default + PORTS_TRIED)
        port = next((port for port in tried if _is_free(listen, port) and _lock(locks, port, held)), None)
        if port is None and own:
            raise Conflict(f"Port {own} is in use by another program. Stop it, or set SUBCLAW_PORT to a free port.")
        if port is None:
            raise Conflict(f"All ports from {default} on are in use. Set SUBCLAW_PORT to a free one.")
        home.port_file.write_text(f"{port}\n")
        yield port


def _lock(locks: Path, port: int, held: ExitStack) -> bool:
    """Take a port's lock until `held` is closed; return whether nobody has it."""
    file = held.enter_context((locks / f"port-{port}").open("w"))
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_free(listen: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in listen else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listen, port))
        except OSError:
            return False
        return True
