"""A business's agent: a folder that is applied as a version, and the customers who talk to it in sessions."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from subclaw.core.agent import AgentSettings
from subclaw.core.tenant import TenantId

SESSION_CHANNEL = "api"
"""The channel of the conversations that are sessions; the address is the session's id."""

AGENT_ID = re.compile(r"[a-z][a-z0-9-]{0,38}[a-z0-9]")
OF_PERSONS = "default"
"""What the agent of persons is called where those of customers have their ids: none of those has this one."""
AUDIT_MODEL, AUDIT_PREFIX = "audit", "audit-"
"""The model of the audit of isolation, and what the ids of the audit's own agents begin with: it is for those alone."""


class Compute(StrEnum):
    """What machine an agent has: none ever, one of each customer's that sleeps, or one for each turn that needs it."""

    NONE = "none"
    ON_DEMAND = "on_demand"
    EPHEMERAL = "ephemeral"


class CustomerChannel(StrEnum):
    """Who talks in a customer's session: the owner's server alone, or the widget in the customer's browser, too."""

    API = "api"
    WIDGET = "widget"


@dataclass(frozen=True, kw_only=True)
class AgentPackage:
    """An agent's folder, read. `files` is the whole of it by path, and `digest` names what is in it.

    `model` is `provider:model`, empty for the operator's. `channels` are the ways by which its customers come, and
    `machine_tools` the names of the machine's tools that it has: none with `Compute.NONE`.
    """

    id: str
    instructions: str
    model: str
    compute: Compute
    settings: AgentSettings
    channels: tuple[str, ...]
    files: Mapping[str, bytes]
    digest: str
    machine_tools: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CustomerSession:
    """A customer's conversation with one version of an agent. A browser talks in it only if `channel` is the widget.

    `customer` is what the agent's owner calls them. `binding` is what the owner's server said when it opened the
    session: ids, scopes, tokens. Tools get it on the host; it is in no prompt and no event.
    """

    tenant_id: TenantId
    agent: str
    version: int
    customer: str
    session_id: str
    channel: CustomerChannel = CustomerChannel.API
    binding: Mapping[str, Any] = field(repr=False)


def digest_of(files: Mapping[str, bytes]) -> str:
    """Return what a folder's files are named by: the SHA-256 of their paths and contents."""
    digest = hashlib.sha256()
    for path, content in sorted(files.items()):
        digest.update(f"{len(path.encode())} {path} {len(content)} ".encode())
        digest.update(content)
    return digest.hexdigest()
