"""Suspension: a tenant's site, machine, channels and schedules stop together, and go on together, with all they had.

The database says who is suspended, and whoever opens a door asks it.
"""

from subclaw.core.errors import Denied, Invalid, NotFound
from subclaw.core.tenant import TenantId
from subclaw.store.database import Database

SUSPENDED = "Whoever runs this has paused it."

BECAUSE_LIMIT_CHARACTERS = 500
"""How long the reason may be that a tenant's person is told."""


async def suspend(operator: Database, name: str, because: str) -> TenantId:
    """Suspend a tenant; said again, `because` is what its person is told. Errors: `Invalid`, `NotFound`, `Unavailable`.

    The database is open in the operator's role, here and in `resume`.
    """
    if len(because) > BECAUSE_LIMIT_CHARACTERS:
        raise Invalid(f"The reason may have {BECAUSE_LIMIT_CHARACTERS} characters, not {len(because)}.")
    return _known(name, (await operator.rows("SELECT suspend_tenant(%s, %s)", name, because))[0][0])


async def resume(operator: Database, name: str) -> TenantId:
    """Let a tenant go on. Errors: `NotFound`, `Unavailable`."""
    return _known(name, (await operator.rows("SELECT resume_tenant(%s)", name))[0][0])


async def require_active(database: Database, tenant_id: TenantId) -> None:
    """Raise `Denied` if a tenant is suspended. Errors: `Unavailable`, too."""
    ((is_suspended,),) = await database.rows("SELECT is_suspended(%s)", tenant_id)
    if is_suspended:
        raise Denied(SUSPENDED)


def _known(name: str, id: int | None) -> TenantId:
    if id is None:
        raise NotFound(f"There is no tenant {name}.")
    return TenantId(id)
