"""The gateway's key pair on disk: making it once, and reading its public half."""

import base64
import binascii
import contextlib
import os
from pathlib import Path

from nacl.public import PrivateKey

from subclaw.core.errors import Corrupt, NotFound

PRIVATE_NAME = "egress.key"
PUBLIC_NAME = "egress.pub"
KEY_BYTES = 32


def ensure_key(folder: Path, uid: int, gid: int) -> None:
    """Make the gateway's key pair in `folder` if it is not there; what is there is never overwritten.

    The private key is readable by its owner `uid` alone (0400), the public one by all (0644). Each file appears whole
    or not at all, and two callers at once end up with one pair.
    Errors: `Corrupt` if the two halves do not belong together: every stored secret would be lost silently.
    """
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    if not (folder / PRIVATE_NAME).exists():
        with contextlib.suppress(FileExistsError):  # another caller was quicker: its key stands
            _create(folder / PRIVATE_NAME, bytes(PrivateKey.generate()), 0o400, uid, gid)
    public = bytes(read_private_key(folder).public_key)
    if not (folder / PUBLIC_NAME).exists():
        with contextlib.suppress(FileExistsError):
            _create(folder / PUBLIC_NAME, public, 0o644, uid, gid)
    if read_public_key(folder) != public:
        raise Corrupt("The egress gateway's public key does not belong to its private key.")


def read_public_key(folder: Path) -> bytes:
    """Return the public key (32 bytes) that secrets are sealed to. Errors: `NotFound`, `Corrupt`."""
    return _read(folder / PUBLIC_NAME)


def read_private_key(folder: Path) -> PrivateKey:
    """Return the private key. Only the gateway's user may read it. Errors: `NotFound`, `Corrupt`."""
    return PrivateKey(_read(folder / PRIVATE_NAME))


def _read(path: Path) -> bytes:
    try:
        key = base64.b64decode(path.read_bytes().strip(), validate=True)
    except FileNotFoundError:
        raise NotFound(f"There is no {path.name}; set-up makes it.") from None
    except binascii.Error:
        raise Corrupt(f"{path.name} is not a key.") from None
    if len(key) != KEY_BYTES:
        raise Corrupt(f"{path.name} is not a key.")
    return key


def _create(path: Path, key: bytes, mode: int, uid: int, gid: int) -> None:
    """Write a key under a name of its own, then link it into place: a link never replaces a file."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o400)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64encode(key) + b"\n")
            file.flush()
            os.fchmod(descriptor, mode)
            os.fchown(descriptor, uid, gid)
            os.fsync(descriptor)
        os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
