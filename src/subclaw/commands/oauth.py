"""`subclaw oauth`: providers at which persons connect accounts for their agents."""

from dataclasses import dataclass
from datetime import UTC

from rich.console import Console

from subclaw.commands.lists import operator_database
from subclaw.commands.owners import ROWS, split, words
from subclaw.commands.secrets import where_to
from subclaw.commands.tables import show
from subclaw.config import Settings
from subclaw.core.errors import Invalid
from subclaw.core.oauth import CALLBACK_PATH, Provider, checked_provider, client_label
from subclaw.core.oauth_presets import PRESETS, Preset
from subclaw.core.policy import HTTPS_PORT
from subclaw.core.secret import Binding
from subclaw.egress.keys import read_public_key
from subclaw.egress.seal import seal
from subclaw.home import Home
from subclaw.store.oauth import list_providers, remove_provider, save_provider

HEADER = "Authorization: Bearer {}"


@dataclass(frozen=True, kw_only=True)
class ProviderOptions:
    """What the command was told; what is empty is as the preset has it."""

    preset: str = ""
    authorize_url: str = ""
    token_url: str = ""
    revoke_url: str = ""
    client_id: str = ""
    scopes: str = ""
    hosts: str = ""
    header: str = HEADER
    parameters: tuple[str, ...] = ()
    basic: bool = False
    redirect_uri: str = ""


def wanted_provider(name: str, options: ProviderOptions) -> Provider:
    """Return the provider that is to be set. Errors: `Invalid`, in words."""
    preset = _preset(options.preset)
    header, _, template = options.header.partition(":")
    authorize_url = options.authorize_url or preset.authorize_url
    token_url, hosts = options.token_url or preset.token_url, split(options.hosts) or preset.hosts
    if not (authorize_url and token_url and hosts and options.client_id):
        raise Invalid("Say --client-id, and --preset or --authorize-url, --token-url and --hosts.")
    return checked_provider(
        Provider(
            name=name,
            authorize_url=authorize_url,
            token_url=token_url,
            revoke_url=options.revoke_url or preset.revoke_url,
            client_id=options.client_id,
            scopes=tuple(options.scopes.split()) or preset.scopes,
            parameters={**preset.parameters, **dict(map(_parameter, options.parameters))},
            basic=options.basic or preset.basic,
            redirect_uri=options.redirect_uri,
            binding=Binding(hosts=hosts, ports=(HTTPS_PORT,), name=header.strip(), template=template.strip()),
        )
    )


async def set_provider(settings: Settings, console: Console, provider: Provider, key: str) -> None:
    """Store a provider, and our key there sealed; one that is empty leaves what is there. Errors: `Invalid`."""
    public_key = read_public_key(Home(settings.home).keys)
    sealed = seal(public_key, key, client_label(provider.name)) if key else None
    async with operator_database(settings) as operator:
        await save_provider(operator, provider, sealed)
    back = provider.redirect_uri or f"http(s)://TENANT.{settings.domain}{CALLBACK_PATH}"
    for line in (
        f"{provider.name} is set. Agents offer it by ask_for_access, and machines get ${provider.secret_name}.",
        f"The gateway puts an account's token into {where_to(provider.binding)}.",
        f"At {provider.name}, allow this address to come back to: {back}",
    ):
        console.print(line, soft_wrap=True, markup=False)


async def list_all(settings: Settings, console: Console, *, as_json: bool) -> None:
    """List providers and how many accounts there are, never keys or tokens."""
    async with operator_database(settings) as operator:
        found = await list_providers(operator, limit=ROWS)
    rows = [
        {
            "name": each.provider.name,
            "client": each.provider.client_id,
            "scopes": " ".join(each.provider.scopes),
            "hosts": words(each.provider.binding.hosts),
            "accounts": each.accounts,
            "lost": each.lost,
            "set": each.updated_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ"),
        }
        for each in found
    ]
    show(rows, console, as_json=as_json, none="There are no providers.")


async def remove(settings: Settings, console: Console, name: str) -> None:
    """Remove a provider with all accounts at it. Errors: `NotFound`."""
    async with operator_database(settings) as operator:
        count = await remove_provider(operator, name)
    console.print(f"{name} is removed, and {count} accounts at it.", soft_wrap=True, markup=False)


def _preset(name: str) -> Preset:
    if not name:
        return Preset(authorize_url="", token_url="", hosts=())
    if name not in PRESETS:
        raise Invalid(f"There is no preset {name!r}. There are: {', '.join(PRESETS)}.")
    return PRESETS[name]


def _parameter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise Invalid(f"A parameter is NAME=VALUE, not {text!r}.")
    return name, value
