"""Logs of services: of each the newest megabyte or so is kept, in two files."""

import os

from subclaw_guest.files import check_regular

LOG_LIMIT_BYTES = 524_288


def add_to_log(path: str, output: bytes) -> None:
    """Append to a log; one that is full becomes the older one, `.1`, first. Raises `Refused`, `OSError`."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if size_bytes(path) >= LOG_LIMIT_BYTES:
        os.replace(path, f"{path}.1")
    # Not blocking and no link, because the tenant may have put anything there.
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY
    descriptor = os.open(path, flags, 0o644)
    try:
        check_regular(os.fstat(descriptor).st_mode)
        while output:
            output = output[os.write(descriptor, output) :]
    finally:
        os.close(descriptor)


def size_bytes(path: str) -> int:
    """Return how large a file is, 0 if it is not there."""
    try:
        return os.lstat(path).st_size
    except FileNotFoundError:
        return 0
