"""The key that signs receipts of erasure, on disk: made once, for the control plane alone."""

import contextlib
import os
import secrets
from pathlib import Path

from nacl.exceptions import CryptoError
from nacl.signing import SigningKey

from subclaw.core.errors import Corrupt, Unavailable

NAME = "receipts.key"


def receipt_key(folder: Path) -> SigningKey:
    """Return the key, and make it if there is none. Two callers at once end up with one. Errors: see below.

    `Unavailable` if it can be neither read nor written, `Corrupt` if what is there is no key.
    """
    try:
        if not (folder / NAME).exists():
            _make(folder)
        return SigningKey((folder / NAME).read_bytes())
    except OSError as error:
        raise Unavailable(f"The key for receipts cannot be had: {error.strerror}.") from error
    except (CryptoError, ValueError):
        raise Corrupt(f"{NAME} is not a key.") from None


def _make(folder: Path) -> None:
    """Write a key under a name of its own, then link it into place: a link never replaces a file."""
    draft = folder / f".{NAME}.{secrets.token_hex(8)}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o400)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(bytes(SigningKey.generate()))
            file.flush()
            os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):  # another caller was quicker: its key stands
            os.link(draft, folder / NAME)
    finally:
        draft.unlink(missing_ok=True)
