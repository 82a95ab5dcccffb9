"""`Machines` for the control plane: calls to the host's API over its unix socket."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx2

from subclaw.core.errors import Unavailable
from subclaw.core.house import check_house_file
from subclaw.core.machine import (
    Checkpoint,
    Command,
    CommandEnd,
    CommandResult,
    Ended,
    FileSlice,
    MachineState,
    MachineStats,
    MachineStatus,
    Match,
    Output,
    PortTrial,
    SearchResult,
    result_of,
)
from subclaw.core.tenant import TenantId
from subclaw.machines import limits
from subclaw.machines.wire import LEFT_OUT, NO_SENSE, UNKNOWN_OUTCOME, checkpoint_of, error_of, records

WAKE_S = 120.0
"""How long a call may wait for its machine to come up and answer, beside the time that the call itself allows."""
CONNECT_S = 5.0
CONNECTIONS = 512
RESTART_S = 15.0
"""How long a call waits for a host that does not run: its supervisor starts it anew within seconds."""
RESTART_POLL_S = 0.1


class HostClient:
    """Implements `Machines`. Use it as an async context manager. Calls raise what the host's own `Machines` raises.

    What cannot be is refused before it is sent; the host checks it again.
    """

    def __init__(self, socket: Path) -> None:
        self._client = httpx2.AsyncClient(
            transport=httpx2.AsyncHTTPTransport(uds=str(socket), limits=httpx2.Limits(max_connections=CONNECTIONS)),
            base_url="http://host",
            timeout=httpx2.Timeout(WAKE_S, connect=CONNECT_S),
            trust_env=False,
        )

    async def __aenter__(self) -> "HostClient":
        """Begin."""
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._client.__aexit__(kind, error, traceback)

    async def exec(self, tenant_id: TenantId, command: Command) -> AsyncGenerator[Output | CommandEnd, None]:
        """Run a command and stream its output; see `Machines`. Close the iterator if it is not read to its end."""
        limits.check_command(command)
        fields = {
            "text": command.text,
            "timeout_s": command.timeout_s,
            "output_limit_bytes": command.output_limit_bytes,
            "environment": dict(command.environment),
        }
        async with self._post(tenant_id, "exec", fields, timeout_s=command.timeout_s + WAKE_S) as response:
            async for record in records(response.aiter_raw()):
                with parsing():
                    piece = output_of(record) if isinstance(record, bytes) else end_of(record)
                yield piece

    async def run(self, tenant_id: TenantId, command: Command) -> CommandResult:
        """Run a command; see `Machines`."""
        async with aclosing(self.exec(tenant_id, command)) as pieces:
            return await result_of(pieces)

    async def read(self, tenant_id: TenantId, path: str, *, offset_bytes: int, limit_bytes: int) -> FileSlice:
        """Read a part of a regular file; see `Machines`."""
        limits.check_slice(path, offset_bytes, limit_bytes)
        fields = {"path": path, "offset_bytes": offset_bytes, "limit_bytes": limit_bytes}
        async with self._post(tenant_id, "read", fields) as response:
            content = await response.aread()
        with parsing():
            size = int(response.headers["x-size-bytes"])
        return FileSlice(content=content, offset_bytes=offset_bytes, size_bytes=size)

    async def write(self, tenant_id: TenantId, path: str, content: bytes) -> None:
        """Write a whole file; see `Machines`."""
        limits.check_content(path, content)
        url = f"/v1/tenants/{tenant_id}/write"
        async with self._send(self._client.build_request("PUT", url, params={"path": path}, content=content)):
            pass

    async def search(self, tenant_id: TenantId, pattern: str, path: str, *, limit: int) -> SearchResult:
        """Search file contents; see `Machines`."""
        limits.check_search(pattern, path, limit)
        async with self._post(tenant_id, "search", {"pattern": pattern, "path": path, "limit": limit}) as response:
            result = await json_of(response)
        with parsing():
            return SearchResult(matches=tuple(Match(**match) for match in result["matches"]), more=result["more"])

    async def archive(self, tenant_id: TenantId, path: str, *, limit_bytes: int) -> AsyncGenerator[bytes, None]:
        """Stream a folder as a tar; see `Machines`. Close the iterator if it is not read to its end."""
        limits.check_archive(path, limit_bytes)
        async with self._post(tenant_id, "archive", {"path": path, "limit_bytes": limit_bytes}) as response:
            async for record in records(response.aiter_raw()):
                if isinstance(record, bytes):
                    yield record

    async def forward(self, tenant_id: TenantId, port: int) -> str:
        """Return an address that leads to a port inside; see `Machines`."""
        limits.check_port(port)
        async with self._post(tenant_id, "forward", {"port": port}) as response:
            result = await json_of(response)
        with parsing():
            return str(result["address"])

    async def try_port(self, tenant_id: TenantId, port: int, hostname: str) -> PortTrial:
        """Ask the program on a port inside for its first page; see `Machines`."""
        limits.check_port(port)
        limits.check_hostname(hostname)
        async with self._post(tenant_id, "try-port", {"port": port, "hostname": hostname}) as response:
            result = await json_of(response)
        with parsing():
            return PortTrial(**result)

    async def wake(self, tenant_id: TenantId) -> None:
        """Start the tenant's machine if it sleeps; see `Machines`."""
        async with self._post(tenant_id, "wake", {}):
            pass

    async def checkpoint(self, tenant_id: TenantId, label: str) -> Checkpoint:
        """Keep a copy of the disk; see `Machines`."""
        limits.check_label(label)
        async with self._post(tenant_id, "checkpoint", {"label": label}) as response:
            result = await json_of(response)
        with parsing():
            return checkpoint_of(result)

    async def checkpoints(self, tenant_id: TenantId) -> tuple[Checkpoint, ...]:
        """List the copies of the disk; see `Machines`."""
        async with self._post(tenant_id, "checkpoints", {}) as response:
            result = await json_of(response)
        with parsing():
            return tuple(map(checkpoint_of, result))

    async def roll_back(self, tenant_id: TenantId, label: str) -> None:
        """Give the machine the disk of a checkpoint; see `Machines`."""
        limits.check_label(label)
        async with self._post(tenant_id, "roll-back", {"label": label}):
            pass

    async def sync_house(self, tenant_id: TenantId) -> bool:
        """Bring the mirror of the tenant's house up to date; see `Machines`."""
        async with self._post(tenant_id, "sync-house", {}) as response:
            result = await json_of(response)
        with parsing():
            return bool(result["is_awake"])

    async def write_house(self, tenant_id: TenantId, path: str, content: bytes | None) -> None:
        """Write a file of the tenant's house, or remove it; see `Machines`."""
        check_house_file(path, content)
        method, url = "DELETE" if content is None else "PUT", f"/v1/tenants/{tenant_id}/house"
        async with self._send(self._client.build_request(method, url, params={"path": path}, content=content)):
            pass

    async def stats(self, tenant_id: TenantId) -> MachineStats:
        """Say what the machine is and uses; see `Machines`."""
        async with self._post(tenant_id, "stats", {}) as response:
            result = await json_of(response)
        with parsing():
            return MachineStats(**{**result, "state": MachineState(result["state"])})

    async def sleep(self, tenant_id: TenantId) -> None:
        """Put the tenant's machine to sleep; see `Machines`."""
        async with self._post(tenant_id, "sleep", {}):
            pass

    async def destroy(self, tenant_id: TenantId) -> None:
        """Stop the tenant's machine and erase its disk; see `Machines`."""
        async with self._post(tenant_id, "destroy", {}):
            pass

    async def statuses(self) -> tuple[MachineStatus, ...]:
        """List the machines that are awake; see `Machines`."""
        async with self._send(self._client.build_request("GET", "/v1/machines")) as response:
            result = await json_of(response)
        with parsing():
            return tuple(MachineStatus(**fields) for fields in result)

    def _post(
        self, tenant_id: TenantId, call: str, fields: dict[str, Any], *, timeout_s: float = WAKE_S
    ) -> AbstractAsyncContextManager[httpx2.Response]:
        timeout = httpx2.Timeout(timeout_s, connect=CONNECT_S)
        url = f"/v1/tenants/{tenant_id}/{call}"
        return self._send(self._client.build_request("POST", url, json=fields, timeout=timeout))

    @asynccontextmanager
    async def _send(self, request: httpx2.Request) -> AsyncIterator[httpx2.Response]:
        """Send a request and give its answer, whose body may not have come yet. Raises what the host answered with."""
        try:
            response = await self._connected(request)
            try:
                if response.status_code >= 400:
                    raise error_of(await json_of(response))
                yield response
            finally:
                await response.aclose()
        except httpx2.ConnectError as error:
            raise Unavailable("The host of machines is not running.", internal=str(error)) from error
        except httpx2.HTTPError as error:
            raise Unavailable(UNKNOWN_OUTCOME, internal=f"{type(error).__name__}: {error}") from error

    async def _connected(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request, trying again while nobody listens: then nothing of it has reached the host."""
        deadline_s = asyncio.get_running_loop().time() + RESTART_S
        while True:
            try:
                return await self._client.send(request, stream=True)
            except httpx2.ConnectError:
                if asyncio.get_running_loop().time() > deadline_s:
                    raise
            await asyncio.sleep(RESTART_POLL_S)


async def json_of(response: httpx2.Response) -> Any:
    """Read an answer's JSON. Raises `Unavailable`."""
    content = await response.aread()
    with parsing():
        return json.loads(content)


@contextmanager
def parsing() -> Iterator[None]:
    """Turn an answer that makes no sense into `Unavailable`."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise Unavailable(NO_SENSE, internal=str(error)) from error


def output_of(record: bytes) -> Output:
    """Parse a piece of a command's output. Raises `ValueError`."""
    if len(record) <= LEFT_OUT.size:
        raise ValueError("a piece of output is empty")
    return Output(content=record[LEFT_OUT.size :], left_out_bytes=LEFT_OUT.unpack_from(record)[0])


def end_of(fields: dict[str, Any]) -> CommandEnd:
    """Parse how a command ended. Raises `KeyError`, `ValueError`."""
    return CommandEnd(
        ended=Ended(fields["ended"]), exit_status=fields["exit_status"], output_bytes=fields["output_bytes"]
    )
