"""The relay: the mail server that takes our mail to the world, and what it says of a mail that it is given."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class MailRelay:
    """A relay that the control plane may have mail sent by, through the gateway, which signs in there.

    TLS is certain: from the first byte (`implicit_tls`), or by STARTTLS. `secret` names the password. Mail goes out as
    from `sender`, an address that may get a tag (`agent+tag@example.com`), and from no other. Its certificate must come
    from one of the `authorities` of a file in PEM; without one, from what the gateway believes.
    """

    name: str
    host: str
    port: int
    implicit_tls: bool
    user: str
    secret: str
    sender: str
    authorities: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Mail:
    """A mail for one person. `tag` goes into the address that is told of what becomes of it; `content` is ASCII."""

    to: str
    tag: str
    content: str


class Step(StrEnum):
    """How far a mail came: to the relay, to its certificate, in there, with its sender, its recipient, its content;
    unknown; taken."""

    REACH = "reach"
    CERTIFICATE = "certificate"
    SIGN_IN = "sign in"
    SENDER = "sender"
    RECIPIENT = "recipient"
    CONTENT = "content"
    LOST = "lost"
    TAKEN = "taken"


@dataclass(frozen=True, kw_only=True)
class Handed:
    """What became of a mail at the relay. `step` is where it ended, `code` the relay's answer there, or 0 without one.

    `status` is the enhanced code of RFC 3463 (`5.1.1`), if there is one. The relay's words are left out: they may quote
    addresses.
    """

    step: Step
    code: int = 0
    status: str = ""
