"""`subclaw tenants suspend` and `resume`: taking a tenant down whole, and bringing it back whole."""

from rich.console import Console

from subclaw.commands.lists import operator_database
from subclaw.config import Settings
from subclaw.core.errors import Unavailable
from subclaw.home import Home
from subclaw.machines.host_client import HostClient
from subclaw.store.suspension import resume, suspend


async def suspend_tenant(settings: Settings, console: Console, tenant: str, *, because: str) -> None:
    """Suspend a tenant, and put its machine to sleep. Errors: `Invalid`, `NotFound`, `Unavailable`."""
    async with operator_database(settings) as operator:
        tenant_id = await suspend(operator, tenant, because)
    console.print(f"{tenant} is suspended: subclaw tenants resume {tenant}", soft_wrap=True, markup=False)
    try:
        async with HostClient(Home(settings.home).host_socket) as host:
            await host.sleep(tenant_id)
    except Unavailable as error:
        words = f"Its machine, if it is awake, goes to sleep within a minute ({error.public})"
        console.print(words, soft_wrap=True, markup=False)


async def resume_tenant(settings: Settings, console: Console, tenant: str) -> None:
    """Let a tenant go on. Errors: `NotFound`, `Unavailable`."""
    async with operator_database(settings) as operator:
        await resume(operator, tenant)
    console.print(f"{tenant} goes on.", soft_wrap=True, markup=False)
