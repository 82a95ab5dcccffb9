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
    """What a turn needs to know of the conversation it runs in."""

    lease: Lease
    tenant_name: str
    reply_to: Address
