"""How many calls of the host's API are under way at once, counted by the application itself."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

import httpx2
import pytest

from subclaw.core.errors import Exhausted
from subclaw.core.machine import Command, CommandEnd, Ended, Output
from subclaw.core.tenant import TenantId
from subclaw.machines.call_limits import CallCount
from subclaw.machines.host_api import host_api


class Machines:
    """Machines that end no call before they are told to, and count those that have begun."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[TenantId] = asyncio.Queue()
        self.end = asyncio.Event()

    async def wake(self, tenant_id: TenantId) -> None:
        """Wait."""
        await self.begun.put(tenant_id)
        await self.end.wait()

    async def exec(self, tenant_id: TenantId, command: Command) -> AsyncGenerator[Output | CommandEnd, None]:
        """Put something out, and wait before the end."""
        yield Output(content=b"begun")
        await self.wake(tenant_id)
        yield CommandEnd(ended=Ended.EXITED, exit_status=0, output_bytes=5)

    async def sleep(self, tenant_id: TenantId) -> None:
        """Do nothing."""


Scenario = Callable[[httpx2.AsyncClient, Machines], Awaitable[None]]


def with_api(scenario: Scenario, *, limit: int, limit_per_tenant: int) -> None:
    """Run a scenario with a client of the host's API, which runs in the same loop."""

    async def run() -> None:
        machines = Machines()
        application = host_api(machines, CallCount(limit, limit_per_tenant))  # type: ignore[arg-type]
        transport = httpx2.ASGITransport(app=application)
        async with asyncio.timeout(10), httpx2.AsyncClient(transport=transport, base_url="http://host") as client:
            await scenario(client, machines)

    asyncio.run(run())


async def post(client: httpx2.AsyncClient, tenant: int, call: str) -> int:
    fields = {"text": "true", "timeout_s": 1, "output_limit_bytes": 10}
    return (await client.post(f"/v1/tenants/{tenant}/{call}", json=fields)).status_code


@pytest.mark.parametrize("call", ["wake", "exec"])
def test_calls_of_one_tenant_are_bounded_until_all_is_answered(call: str) -> None:
    async def scenario(client: httpx2.AsyncClient, machines: Machines) -> None:
        async with asyncio.TaskGroup() as group:
            held = [group.create_task(post(client, 1, call)) for _ in range(2)]
            for _ in held:
                await machines.begun.get()
            assert await post(client, 1, call) == 429
            assert await post(client, 1, "sleep") == 204
            other = group.create_task(post(client, 2, call))
            assert await machines.begun.get() == 2
            machines.end.set()
        assert all(task.result() < 300 for task in [*held, other])
        assert await post(client, 1, call) < 300

    with_api(scenario, limit=10, limit_per_tenant=2)


def test_calls_of_all_tenants_are_bounded() -> None:
    async def scenario(client: httpx2.AsyncClient, machines: Machines) -> None:
        async with asyncio.TaskGroup() as group:
            for tenant in (1, 2, 3):
                group.create_task(post(client, tenant, "wake"))
                await machines.begun.get()
            assert await post(client, 4, "wake") == 429
            machines.end.set()
        assert await post(client, 4, "wake") == 204

    with_api(scenario, limit=3, limit_per_tenant=2)


def test_call_that_fails_is_not_under_way_any_more() -> None:
    count = CallCount(1, 1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), count.counted(1):
            raise ZeroDivisionError
    with count.counted(1), pytest.raises(Exhausted), count.counted(1):
        pass
