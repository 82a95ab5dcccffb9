"""A tenant's files: those of its house are read and written without waking its machine."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from subclaw.core.errors import NotFound
from subclaw.core.house import StoredFile, house_path
from subclaw.core.machine import FileSlice, Machines
from subclaw.core.tenant import TenantId

House = Callable[[TenantId], Awaitable[Sequence[StoredFile]]]
"""Returns what is in the mirror of a tenant's house: what it has changed."""


class HouseFiles:
    """Files of tenants' machines. `defaults` are the files of a house that its tenant has not touched, by path."""

    def __init__(self, machines: Machines, house: House, defaults: Mapping[str, bytes]) -> None:
        self._machines = machines
        self._house = house
        self._defaults = defaults

    async def read(self, tenant_id: TenantId, path: str, *, offset_bytes: int, limit_bytes: int) -> FileSlice:
        """Read a part of a file. Raises what `Machines.read` raises, and `Invalid` for a strange path in the house."""
        inside = house_path(path)
        if inside is not None and not await self._machines.sync_house(tenant_id):
            file = await self._mirrored(tenant_id, inside)
            if file.content is not None:
                part = file.content[offset_bytes : offset_bytes + limit_bytes]
                return FileSlice(content=part, offset_bytes=offset_bytes, size_bytes=len(file.content))
        return await self._machines.read(tenant_id, path, offset_bytes=offset_bytes, limit_bytes=limit_bytes)

    async def write(self, tenant_id: TenantId, path: str, content: bytes) -> None:
        """Write a whole file. Raises what `Machines.write` and `write_house` raise."""
        inside = house_path(path)
        if inside is None:
            await self._machines.write(tenant_id, path, content)
        else:
            await self._machines.write_house(tenant_id, inside, content)

    async def _mirrored(self, tenant_id: TenantId, path: str) -> StoredFile:
        """Return a file of a house whose machine sleeps; without content if only the machine has that."""
        for file in await self._house(tenant_id):
            if file.path == path:
                if file.content is None and not file.problem:
                    break
                return file
        else:
            if path in self._defaults:
                return StoredFile(path=path, content=self._defaults[path])
        raise NotFound("There is no such file.")
