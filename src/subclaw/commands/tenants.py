"""`subclaw tenants`: which model answers for a tenant, and how many messages its person has."""

from collections.abc import Collection

from rich.console import Console

from subclaw.commands.lists import operator_database
from subclaw.config import Settings
from subclaw.core.errors import Invalid
from subclaw.home import Home
from subclaw.models.choice import usable_choice, usable_providers
from subclaw.store.tenant_settings import UNLIMITED, set_free_messages, set_model, tenant_settings


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


async def tenant_messages(
    settings: Settings, console: Console, tenant: str, *, number: int | None, is_unlimited: bool, is_default: bool
) -> None:
    """Say how many messages a tenant's person has, or give them another number. Errors: `Invalid`, `NotFound`."""
    if (number is not None) + is_unlimited + is_default > 1:
        raise Invalid("Say a number, --unlimited or --default, and only one of them.")
    async with operator_database(settings) as operator:
        found = await tenant_settings(operator, tenant)
        if number is None and not is_unlimited and not is_default:
            console.print(f"{tenant}: {_messages(found.free_messages)}", soft_wrap=True, markup=False)
            return
        messages = UNLIMITED if is_unlimited else number
        await set_free_messages(operator, found.id, messages)
    console.print(f"{tenant} has {_messages(messages)}.", soft_wrap=True, markup=False)


def _messages(number: int | None) -> str:
    if number is None:
        return "as many messages as agent.toml gives everybody"
    return "as many messages as they like" if number == UNLIMITED else f"{number} messages in all"


def reachable_providers(settings: Settings) -> Collection[str]:
    """Return the model providers that the box with this state folder can ask: it noted at its start which they are.

    Before it was ever started, they are those of this command's own environment.
    """
    noted = Home(settings.home).providers_file
    try:
        return noted.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return usable_providers(settings.upstreams)
