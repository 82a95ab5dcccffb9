"""Releases: published folders, kept on this host under the digest of their content.

    FOLDER/.incoming/<random>/              a release that is being written
    FOLDER/<tenant id>/<release>/           a release: read-only in use, files 0644, folders 0755
    FOLDER/<tenant id>/current              a link to the release that visitors get; switching it is one rename

A release is complete and on disk before it has its name, so whatever has one can be served. Hidden files (a part of the
path starts with a dot: `.env`, `.git`) never get into one; `.well-known` at the top does, as RFC 8615 says.
"""

import asyncio
import contextlib
import os
import re
import secrets
import shutil
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from subclaw.core.errors import Corrupt, NotFound, Unavailable
from subclaw.core.tenant import TenantId
from subclaw.routes.incoming import Incoming, ReleaseLimits, disk_words

RELEASES_KEPT = 10
"""How many releases of a tenant are kept, the one in use among them."""

_CURRENT = "current"
_INCOMING = ".incoming"
_ABANDONED_AFTER_S = 3600.0
_BLOCK_BYTES = 256 * 1024
_RELEASE = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Release:
    """A release as it was kept. `hidden` is the number of hidden files that were left out."""

    release: str
    files: int
    size_bytes: int
    hidden: int


class Releases:
    """The releases of all tenants in one folder. Safe to share in a process and between processes of one user."""

    def __init__(self, folder: Path, *, limits: ReleaseLimits | None = None, timeout_s: float = 120.0) -> None:
        self._folder = folder
        self._limits = limits or ReleaseLimits()
        self._timeout_s = timeout_s

    async def keep(self, tenant_id: TenantId, tar: AsyncIterator[bytes]) -> Release:
        """Check the untrusted tar of a folder and keep it; the same content again is the same release.

        Errors: `Invalid` with words for the model; `Unavailable` for a full disk, or a tar that comes too slowly. After
        an error nothing is left of it.
        """
        incoming = await asyncio.to_thread(self._begin)
        try:
            async with asyncio.timeout(self._timeout_s), contextlib.aclosing(_blocks(tar)) as blocks:
                async for block in blocks:
                    await asyncio.to_thread(incoming.feed, block)
                return await asyncio.to_thread(self._finish, tenant_id, incoming)
        except TimeoutError as error:
            raise Unavailable("The folder took too long to copy. Try again, or publish less.") from error
        except OSError as error:
            raise disk_words(error) from error
        finally:
            await asyncio.to_thread(incoming.discard)

    async def switch(self, tenant_id: TenantId, release: str) -> Path:
        """Make a kept release the one that visitors get, at once, and return the folder (a link) to serve.

        Errors: `NotFound` if it is not kept here; `Unavailable`.
        """
        try:
            return await asyncio.to_thread(self._switch, tenant_id, release)
        except OSError as error:
            raise disk_words(error) from error

    async def last(self, tenant_id: TenantId) -> Path | None:
        """Return the folder of the release that was switched to last, None if there never was one."""
        current = self._folder / str(int(tenant_id)) / _CURRENT
        return current if await asyncio.to_thread(current.is_symlink) else None

    async def erase(self, tenant_id: TenantId) -> int:
        """Erase all that a tenant has published; return how many files there were. Errors: `Unavailable`."""
        return await asyncio.to_thread(self._erase_all, tenant_id)

    def _begin(self) -> Incoming:
        try:
            for folder, mode in ((self._folder, 0o755), (self._folder / _INCOMING, 0o700)):
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(mode)
            self._sweep()
            return Incoming(self._folder / _INCOMING / secrets.token_hex(8), self._limits)
        except OSError as error:
            raise disk_words(error) from error

    def _finish(self, tenant_id: TenantId, incoming: Incoming) -> Release:
        contents = incoming.seal()
        tenant_folder = self._folder / str(tenant_id)
        tenant_folder.mkdir(exist_ok=True)
        tenant_folder.chmod(0o755)
        kept = tenant_folder / contents.digest
        incoming.place(kept)
        os.utime(kept)
        _sync_folder(tenant_folder)
        _sync_folder(self._folder)
        self._prune(tenant_folder, but=contents.digest)
        return Release(
            release=contents.digest, files=contents.files, size_bytes=contents.size_bytes, hidden=contents.hidden
        )

    def _switch(self, tenant_id: TenantId, release: str) -> Path:
        if not _RELEASE.fullmatch(release):
            raise Corrupt("That release is not kept here.", internal="a release's name is not a digest")
        tenant_folder = self._folder / str(tenant_id)
        current = tenant_folder / _CURRENT
        if not (tenant_folder / release).is_dir():
            raise NotFound("That release is not kept here.", internal=f"release {release} is missing on disk")
        if not (current.is_symlink() and os.readlink(current) == release):
            link = tenant_folder / f".{secrets.token_hex(8)}"
            link.symlink_to(release)
            link.replace(current)
            _sync_folder(tenant_folder)
        os.utime(tenant_folder / release)
        return current

    def _prune(self, tenant_folder: Path, *, but: str) -> None:
        """Erase the releases that were longest unused, but neither a new one nor the one that visitors get."""
        current = tenant_folder / _CURRENT
        spared = {but, os.readlink(current) if current.is_symlink() else ""}
        old = [folder for folder in tenant_folder.iterdir() if _RELEASE.fullmatch(folder.name)]
        old.sort(key=lambda folder: folder.stat().st_mtime_ns, reverse=True)
        for folder in old[RELEASES_KEPT:]:
            if folder.name not in spared:
                self._erase(folder)

    def _sweep(self) -> None:
        """Erase what a killed process left behind half-written."""
        for folder in (self._folder / _INCOMING).iterdir():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - folder.stat().st_mtime > _ABANDONED_AFTER_S:
                    shutil.rmtree(folder, ignore_errors=True)

    def _erase_all(self, tenant_id: TenantId) -> int:
        folder = self._folder / str(tenant_id)
        try:
            count = sum(path.is_file() and not path.is_symlink() for path in folder.rglob("*"))
            if folder.is_dir():
                self._erase(folder)
        except OSError as error:
            raise Unavailable("What was published cannot be erased now.", internal=type(error).__name__) from error
        return count

    def _erase(self, folder: Path) -> None:
        """Erase a folder, out of sight first, so that nobody meets a half of it."""
        gone = self._folder / _INCOMING / secrets.token_hex(8)
        with contextlib.suppress(FileNotFoundError):
            folder.rename(gone)
            shutil.rmtree(gone)


async def _blocks(stream: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Gather a stream into pieces worth a thread's time, and close it at the end."""
    held = bytearray()
    try:
        async for chunk in stream:
            held += chunk
            if len(held) >= _BLOCK_BYTES:
                yield bytes(held)
                held.clear()
        if held:
            yield bytes(held)
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
