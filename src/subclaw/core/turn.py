"""A turn: from a message to the final reply. Its lease says who may write to the conversation meanwhile."""

from dataclasses import dataclass

from subclaw.core.channel import Address
from subclaw.core.tenant import TenantId


@dataclass(frozen=True, kw_only=True)
class Lease:
    """One worker's claim to a conversation. Every write names it, and the store refuses one whose `epoch` is over."""

    tenant_id: TenantId
    conversation_id: int
    epoch: int


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """What a turn needs to know of the conversation it runs in, and of its tenant.

    `model` is the one that the tenant has instead of the operator's, and `time_zone` (an IANA name) the person's: empty
    if nobody has said so. `house_revision` counts the changes of the tenant's house; it is 0 for one as it comes.
    A customer's conversation is with a version of an `agent`; for others that is empty.
    """

    lease: Lease
    tenant_name: str
    reply_to: Address
    model: str = ""
    time_zone: str = ""
    house_revision: int = 0
    is_awake: bool = False
    agent: str = ""
    agent_version: int = 0
