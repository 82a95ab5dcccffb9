"""A release that is being written: an untrusted tar becomes files under one new folder, within limits."""

import contextlib
import errno
import hashlib
import os
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from subclaw.core.errors import Invalid, Unavailable
from subclaw.routes.compress import compress_file
from subclaw.routes.tar import FileData, FileEnd, FileStart, Folder, Parts, TarEvent, TarReader
from subclaw.routes.unfit import LOOKED_AT_BYTES, require_fit

_INDEX: Final = ("index.html",)
_WELL_KNOWN: Final = ".well-known"
_TIMES: Final = 2**30


@dataclass(frozen=True, kw_only=True)
class ReleaseLimits:
    """The bounds of a release: of what is kept, and (`entries`, `stream_bytes`) of what may be sent to get there."""

    files: int = 5_000
    size_bytes: int = 64 * 1024 * 1024
    file_bytes: int = 32 * 1024 * 1024
    entries: int = 20_000
    stream_bytes: int = 256 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What was written. `digest` is SHA-256 over the sorted paths, each with the SHA-256 of its file."""

    digest: str
    files: int
    size_bytes: int
    hidden: int


@dataclass(kw_only=True)
class _Open:
    """The file that is being written; `file` is None for a hidden one, which is read and dropped."""

    parts: Parts
    file: BinaryIO | None
    sha256: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    beginning: bytearray = field(default_factory=bytearray)


class Incoming:
    """A new release under `folder`, which must not be there yet. Its calls block; one at a time.

    A caller that is interrupted may `discard` while a call still runs in another thread: that call ends first, and
    later ones fail.
    """

    def __init__(self, folder: Path, limits: ReleaseLimits) -> None:
        self.folder = folder
        self._limits = limits
        self._reader = TarReader()
        self._open: _Open | None = None
        self._digests: dict[Parts, str] = {}
        self._size_bytes = self._stream_bytes = self._entries = self._hidden = 0
        self._turn = threading.Lock()
        self._discarded = False
        folder.mkdir(mode=0o700)

    def feed(self, block: bytes) -> None:
        """Write what the next bytes of the tar tell. Errors: `Invalid` with words for the model; `OSError`."""
        with self._turn:
            self._check_use()
            self._stream_bytes += len(block)
            if self._stream_bytes > self._limits.stream_bytes:
                raise self._too_large()
            for event in self._reader.feed(block):
                self._take(event)

    def seal(self) -> Contents:
        """End the release: check that it is whole, compress what gains by it, set modes and times, bring it to disk.

        Errors: `Invalid` with words for the model; `OSError`.
        """
        with self._turn:
            self._check_use()
            self._reader.close()
            if _INDEX not in self._digests:
                raise Invalid(
                    "I found no index.html in the folder; a site needs one at its top, with that very name. "
                    "Write it, or publish the folder that has it."
                )
            for parts in self._digests:
                compress_file(self.folder.joinpath(*parts))
            _settle(self.folder)
            return Contents(
                digest=_digest(self._digests),
                files=len(self._digests),
                size_bytes=self._size_bytes,
                hidden=self._hidden,
            )

    def place(self, kept: Path) -> None:
        """Give the sealed release its name; if it is there already, that one stays. Errors: `OSError`."""
        with self._turn:
            self._check_use()
            try:
                self.folder.rename(kept)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise

    def discard(self) -> None:
        """Erase what was written, if it is still here."""
        with self._turn:
            self._discarded = True
            if self._open and self._open.file:
                with contextlib.suppress(OSError):  # on a full disk, closing fails to write what is still held
                    self._open.file.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _check_use(self) -> None:
        if self._discarded:
            raise Unavailable("Publishing was given up.")

    def _take(self, event: TarEvent) -> None:
        if isinstance(event, Folder):
            self._count_entry()
        elif isinstance(event, FileStart):
            self._count_entry()
            self._open = self._begin(event)
        elif isinstance(event, FileData):
            self._write(event.data)
        elif isinstance(event, FileEnd):
            self._end()

    def _count_entry(self) -> None:
        self._entries += 1
        if self._entries > self._limits.entries:
            raise Invalid(f"The folder holds more than {self._limits.entries:,} files and folders. Publish less.")

    def _begin(self, start: FileStart) -> _Open:
        if _is_hidden(start.parts):
            self._hidden += 1
            return _Open(parts=start.parts, file=None)
        if start.size_bytes > self._limits.file_bytes:
            limit = self._limits.file_bytes // 2**20
            raise Invalid(f"A file is larger than {limit} MiB, which is the most for one file of a site.")
        self._size_bytes += start.size_bytes
        if self._size_bytes > self._limits.size_bytes:
            raise self._too_large()
        if len(self._digests) >= self._limits.files:
            raise Invalid(f"The folder holds more than {self._limits.files:,} files. Publish less, or bundle them.")
        return _Open(parts=start.parts, file=_create(self.folder, start.parts))

    def _write(self, data: bytes) -> None:
        if self._open and self._open.file:
            self._open.file.write(data)
            self._open.sha256.update(data)
            self._open.beginning += data[: LOOKED_AT_BYTES - len(self._open.beginning)]

    def _end(self) -> None:
        opened, self._open = self._open, None
        if opened is None or opened.file is None:
            return
        with opened.file as file:
            require_fit(opened.parts, bytes(opened.beginning))
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            digest = opened.sha256.digest()
            # Caddy makes the ETag of the file's time in seconds and its size. With a time from the content, the same
            # content has the same tag in every release, and new content a new one even within a second.
            time_s = 2 + int.from_bytes(digest[:8], "big") % _TIMES
            os.utime(file.fileno(), (time_s, time_s))
        self._digests[opened.parts] = digest.hex()

    def _too_large(self) -> Invalid:
        limit = self._limits.size_bytes // 2**20
        return Invalid(f"The folder is larger than {limit} MiB, which is the most for a site. Publish less.")


def disk_words(error: OSError) -> Unavailable:
    """Translate an error of the host's disk into words."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable("The server's disk is full, so nothing was published. Its operator has to make room.")
    internal = f"a release: {error.strerror or type(error).__name__}"
    return Unavailable("The server could not write to its disk, so nothing was published.", internal=internal)


def _is_hidden(parts: Parts) -> bool:
    rest = parts[1:] if parts[0] == _WELL_KNOWN else parts
    return any(part.startswith(".") for part in rest)


def _create(folder: Path, parts: Parts) -> BinaryIO:
    """Create one file, which must be new. Nobody else writes below `folder`, so its own folders are no links."""
    path = folder.joinpath(*parts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise Invalid("Two files of the folder have the same name. Rename one, and publish again.") from error
    return os.fdopen(descriptor, "wb")


def _digest(digests: dict[Parts, str]) -> str:
    lines = sorted(f"{'/'.join(parts)}\0{digest}\n" for parts, digest in digests.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _settle(folder: Path) -> None:
    """Open the folders to Caddy's user and bring everything to disk."""
    for place, _, files in os.walk(folder, topdown=False):
        for path in (*(os.path.join(place, name) for name in files), place):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                if path == place:
                    os.fchmod(descriptor, 0o755)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
