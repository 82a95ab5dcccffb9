"""`subclaw tenants model`: which model answers for a tenant."""

from collections.abc import Collection

from rich.console import Console

from subclaw.commands.lists import operator_database
from subclaw.config import Settings
from subclaw.core.errors import Invalid
from subclaw.home import Home
from subclaw.models.choice import usable_choice, usable_providers
from subclaw.store.tenant_settings import set_model, tenant_settings


async def tenant_model(
    settings: Settings, console: Console, tenant: str, *, model: str | None, is_default: bool
) -> None:
    """Say which model a tenant has, or give it another. Errors: `Invalid`, `NotFound`."""
    if model is not None and is_default:
        raise Invalid("Say a model or --default, not both.")
    async with operator_database(settings) as operator:
        found = await tenant_settings(operator, tenant)
        if model is None and not is_default:
            console.print(f"{tenant}: {found.model or 'the default model'}", soft_wrap=True, markup=False)
            return
        name = str(usable_choice(model, reachable_providers(settings))) if model is not None else ""
        await set_model(operator, found.id, name)
    console.print(
        f"{name or 'The default model'} answers for {tenant} from the next message on.", soft_wrap=True, markup=False
    )


def reachable_providers(settings: Settings) -> Collection[str]:
    """Return the model providers that the box with this state folder can ask: it noted at its start which they are.

    Before it was ever started, they are those of this command's own environment.
    """
    noted = Home(settings.home).providers_file
    try:
        return noted.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return usable_providers(settings.upstreams)
