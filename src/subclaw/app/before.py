"""What is stored before a box's processes start: sealed keys, and what the agent's file says of the way out."""

from collections.abc import Mapping

from subclaw.app.addresses import database_address
from subclaw.config import KEY_VARIABLES, Settings
from subclaw.core.agent import AgentEgress
from subclaw.core.secret import SealedSecret
from subclaw.egress.keys import read_public_key
from subclaw.egress.seal import seal
from subclaw.home import Home
from subclaw.store.database import Role, open_database
from subclaw.store.egress_rules import replace_agent_rules
from subclaw.store.secrets import save_secret


async def seal_keys(settings: Settings, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Seal the keys in the environment to the gateway and store them; return the variables' names."""
    public_key = read_public_key(Home(settings.home).keys)
    present = [name for name in KEY_VARIABLES if environ.get(name)]
    async with open_database(database_address(settings), Role.OPERATOR, size=1) as operator:
        for name in present:
            secret = KEY_VARIABLES[name]
            sealed = seal(public_key, environ[name], secret)
            await save_secret(operator, SealedSecret(name=secret, sealed=sealed))
    return tuple(present)


async def keep_agent_rules(settings: Settings, egress: AgentEgress) -> None:
    """Store what the agent's file says of the way out, for the gateway to go by."""
    async with open_database(database_address(settings), Role.OPERATOR, size=1) as operator:
        await replace_agent_rules(operator, egress.rules, starter=egress.starter)
