"""What the operator sets of Matrix, and where things are."""

from dataclasses import dataclass

CHANNEL = "matrix"
TOKEN = "matrix.token"
SCHEME = UPSTREAM = "matrix"


@dataclass(frozen=True, kw_only=True)
class MatrixSettings:
    """The operator's account: its Matrix id, such as `@agent:example.org`, and the base URL of its homeserver."""

    user: str
    homeserver: str
