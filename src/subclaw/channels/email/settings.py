"""What the operator sets of e-mail, and what things are called."""

from dataclasses import dataclass
from pathlib import Path

CHANNEL = "email"
PASSWORD = "email.password"
SCHEME = RELAY = "email"
"""Under this name of a scheme the gateway derives a secret from the relay's password: marks of ours are made by it."""


@dataclass(frozen=True, kw_only=True)
class Front:
    """A mail server of the operator's before this one, which checks senders: its name in `Authentication-Results`, and
    from which addresses it connects. Nobody else is then talked to."""

    name: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """Files in PEM: the chain, and its key."""

    chain: Path
    key: Path


@dataclass(frozen=True, kw_only=True)
class EmailSettings:
    """The operator's address.

    `name` stands beside it. Mail is taken at `host` and `port`, with STARTTLS if there is a `certificate`. Without a
    `front`, senders are checked here; `name_servers` are asked instead of the host's.
    """

    address: str
    name: str
    host: str
    port: int
    certificate: Certificate | None
    front: Front | None
    name_servers: tuple[str, ...]

    @property
    def local_part(self) -> str:
        """Return what is before the at sign."""
        return self.address.partition("@")[0]

    @property
    def domain(self) -> str:
        """Return what is behind it."""
        return self.address.partition("@")[2]
