"""Files of an agent from elsewhere, out of a folder or an archive that nobody vouches for.

Only what a house could have is read: small files, by their names and their folders'. No link is followed, no name leads
out of the folder, and whatever is in an archive, only so much of it is held, and only so much is unpacked.
"""

import gzip
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from subclaw.core.errors import Exhausted, Invalid, NotFound
from subclaw.core.house import FILE_LIMIT_BYTES
from subclaw.routes.tar import FileData, FileEnd, FileStart, PassedOver, TarReader

CHUNK_BYTES = 256 * 1024
JOBS_LIMIT_BYTES = 1024 * 1024
"""A file of jobs may be longer than what a house has: not all of it goes there."""

HELD_LIMIT_FILES = 5_000
HELD_LIMIT_BYTES = 32 * 1024 * 1024
ENTRIES_LIMIT = 500_000
UNPACKED_LIMIT_BYTES = 4 * 1024**3
ZIP_LIMIT_BYTES = 32 * 1024 * 1024

_JOBS_NAME = "jobs.json"
_NAMES = frozenset(("openclaw.json", "config.yaml", "manifest.json", "reminders.json"))
_FOLDERS = frozenset(("skills", "house", "memory", "memories"))
_PAGE_DEPTH = 4
"""How deep a page (.md) may lie that is in none of these folders: further in it is of somebody's project."""

_NEVER = frozenset(("node_modules", ".git", "__pycache__", ".venv", "venv", "sessions", "credentials", "logs"))
_PATH_LIMIT_CHARACTERS = 512


@dataclass(kw_only=True)
class Source:
    """What was found: `files` by path, and how many others there were, links among them."""

    files: dict[str, bytes] = field(default_factory=dict)
    others: int = 0
    held_bytes: int = 0
    seen: int = 0

    def wants(self, path: str, size_bytes: int) -> bool:
        """Tell whether a file is to be read; one that is not is counted. Errors: `Exhausted`."""
        self.seen += 1
        if self.seen > ENTRIES_LIMIT:
            raise Exhausted(f"There are more than {ENTRIES_LIMIT:,} files. Give only the agent's own folder.")
        if not _is_wanted(path, size_bytes):
            self.others += 1
            return False
        self.held_bytes += size_bytes
        if len(self.files) >= HELD_LIMIT_FILES or self.held_bytes > HELD_LIMIT_BYTES:
            raise Exhausted(
                f"There are more than {HELD_LIMIT_FILES:,} texts or {HELD_LIMIT_BYTES // 2**20} MB of them. "
                "Give only the agent's own folder."
            )
        return True


def read_source(path: Path) -> Source:
    """Read a folder, a .tar, .tar.gz or .zip. Errors: `NotFound`, `Invalid`, `Exhausted`, in words."""
    try:
        if path.is_dir():
            return _read_folder(path)
        with path.open("rb") as file:
            start = file.read(4)
            file.seek(0)
            if start.startswith(b"PK"):
                return _read_zip(file)
            return _read_tar(_unpacked(file) if start.startswith(b"\x1f\x8b") else _chunks(file))
    except FileNotFoundError as error:
        raise NotFound(f"There is no {path}.") from error
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}.") from error


def _is_wanted(path: str, size_bytes: int) -> bool:
    *folders, name = path.split("/")
    if len(path) > _PATH_LIMIT_CHARACTERS or not _NEVER.isdisjoint(folders):
        return False
    if name == _JOBS_NAME:
        return size_bytes <= JOBS_LIMIT_BYTES
    is_page = name.endswith(".md") and len(folders) < _PAGE_DEPTH
    return size_bytes <= FILE_LIMIT_BYTES and (is_page or name in _NAMES or not _FOLDERS.isdisjoint(folders))


def _read_folder(folder: Path) -> Source:
    source = Source()
    for place, folders, names, descriptor in os.fwalk(folder, onerror=_raise):
        below = Path(place).relative_to(folder)
        source.others += sum(1 for name in folders if name in _NEVER)
        folders[:] = sorted(name for name in folders if name not in _NEVER)
        for name in sorted(names):
            path = (below / name).as_posix()
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode) or not path.isprintable():
                source.others += 1
            elif source.wants(path, status.st_size):
                source.files[path] = _read_file(name, descriptor, status.st_size)
    return source


def _raise(error: OSError) -> None:
    raise error


def _read_file(name: str, folder: int, size_bytes: int) -> bytes:
    """Read a regular file and nothing else, whatever stands in its place by now."""
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(size_bytes) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""


def _read_tar(chunks: Iterator[bytes]) -> Source:
    source, reader = Source(), TarReader(others_pass=True)
    path, content = "", None
    try:
        for chunk in chunks:
            for event in reader.feed(chunk):
                match event:
                    case FileStart(parts=parts, size_bytes=size_bytes):
                        path = "/".join(parts)
                        content = bytearray() if source.wants(path, size_bytes) else None
                    case FileData(data=data) if content is not None:
                        content += data
                    case FileEnd() if content is not None:
                        source.files[path] = bytes(content)
                    case PassedOver():
                        source.others += 1
        reader.close()
    except Invalid as error:
        raise _unreadable(error.internal) from error
    return source


def _read_zip(file: BinaryIO) -> Source:
    if os.fstat(file.fileno()).st_size > ZIP_LIMIT_BYTES:
        raise Exhausted(f"A .zip may have {ZIP_LIMIT_BYTES // 2**20} MB. Pack a .tar.gz, or give the folder.")
    source = Source()
    try:
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                kind = stat.S_IFMT(entry.external_attr >> 16)
                if entry.is_dir():
                    continue
                path = _safe_path(entry.filename)
                if kind not in (0, stat.S_IFREG):
                    source.others += 1
                elif source.wants(path, entry.file_size):
                    with archive.open(entry) as content:
                        source.files[path] = content.read(entry.file_size)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, zlib.error) as error:
        raise _unreadable(f"zip: {error}") from error
    return source


def _safe_path(name: str) -> str:
    path = name.removeprefix("./")
    if not path.isprintable() or "\\" in path or any(step in ("", ".", "..") for step in path.split("/")):
        raise _unreadable("a name leads out of the folder, or cannot be shown")
    return path


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


def _unpacked(file: BinaryIO) -> Iterator[bytes]:
    """Yield what is in a gzip file, in pieces that stay small whatever it holds. Errors: `Invalid`, `Exhausted`."""
    size_bytes = 0
    try:
        with gzip.GzipFile(fileobj=file) as unpacker:
            while piece := unpacker.read1(CHUNK_BYTES):
                size_bytes += len(piece)
                if size_bytes > UNPACKED_LIMIT_BYTES:
                    raise Exhausted(f"The archive holds more than {UNPACKED_LIMIT_BYTES // 2**30} GB.")
                yield piece
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise _unreadable(str(error)) from error


def _unreadable(why: str) -> Invalid:
    words = "".join(filter(str.isprintable, why))[:200]
    return Invalid(f"That is no archive that can be read, a .tar, .tar.gz or .zip: {words}.")
