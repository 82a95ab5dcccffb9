"""Models as the product opens them: from settings, by the real gateway, which alone has the keys."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from subclaw.config import KEY_VARIABLES, load_settings
from subclaw.core.agent import AgentSettings
from subclaw.core.model import Model, Prompt, UserSaid
from subclaw.core.tool import ToolDefinition
from subclaw.egress.control.client import gateway_client
from subclaw.models.patience import Patience
from subclaw.models.providers import Models, open_model, open_models
from subclaw.testing.egress import running_gateway
from subclaw.testing.providers import CALL_NAME
from subclaw.testing.serving import serving

KEY = "sk-canary-0123456789"
PATHS = {"openai": "/v1", "anthropic": "", "google": ""}
TOOL = ToolDefinition(
    name=CALL_NAME,
    description="Look somewhere.",
    parameters={"type": "object", "properties": {"where": {"type": "string"}}, "required": ["where"]},
    idempotent=True,
)
HELLO = Prompt(instructions="Be kind.", history=[UserSaid(text="What is here?")], tools=[TOOL])
QUICK = Patience(soon_s=0.01, later_s=0.01)
"""As patient as ever, without the waits."""


@asynccontextmanager
async def opened(
    folder: Path, name: str, app: Any, *, patience: Patience = QUICK, official: bool = False
) -> AsyncIterator[Model]:
    """Open one model of a provider that `app` plays."""
    async with serving(app) as port:
        variables = {**_variables(name, port), "SUBCLAW_MODEL": f"{name}:some-model"}
        settings = load_settings(variables)
        async with (
            running_gateway(folder, settings.upstreams, _secrets(name)) as socket,
            gateway_client(socket) as gateway,
        ):
            yield open_model(settings.model, gateway, patience=patience, official=official)


@asynccontextmanager
async def opened_all(folder: Path, apps: dict[str, Any], agent: AgentSettings) -> AsyncIterator[Models]:
    """Open an agent's models; the first of the providers that `apps` play has the chosen one."""
    if len(apps) > 2:
        raise ValueError("two providers are enough")
    (one, one_app), (other, other_app) = apps.items()
    async with serving(one_app) as port, serving(other_app) as other_port:
        settings = load_settings(
            {**_variables(one, port), **_variables(other, other_port), "SUBCLAW_MODEL": f"{one}:some-model"}
        )
        secrets = {**_secrets(one), **_secrets(other)}
        async with running_gateway(folder, settings.upstreams, secrets) as socket, gateway_client(socket) as gateway:
            yield open_models(settings.model, agent, gateway, settings.upstreams)


def _variables(name: str, port: int) -> dict[str, str]:
    return {f"{name.upper()}_API_KEY": KEY, f"{name.upper()}_BASE_URL": f"http://127.0.0.1:{port}{PATHS[name]}"}


def _secrets(name: str) -> dict[str, str]:
    return {KEY_VARIABLES[f"{name.upper()}_API_KEY"]: KEY}
