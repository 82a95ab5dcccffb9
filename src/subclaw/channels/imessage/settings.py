"""What the operator sets of iMessage, and where things are."""

from dataclasses import dataclass

PASSWORD = "imessage.password"
SCHEME = UPSTREAM = "imessage"
WEBHOOK_PATH = "/webhooks/imessage"
"""A secret follows it, which BlueBubbles is told with the address: it signs nothing."""


@dataclass(frozen=True, kw_only=True)
class IMessageSettings:
    """The operator's Mac.

    `account` is what people write to: a phone number or an e-mail address. In groups the agent is called by `name`;
    without one, it is in none. `service` is how chats are named there: `iMessage`, or `any` since macOS 26.
    """

    base_url: str
    account: str
    name: str
    service: str
