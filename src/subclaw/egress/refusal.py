"""A refusal: why a client of the gateway gets an error and not the upstream's answer."""

from subclaw.core.errors import SubclawError


class Refusal(SubclawError):
    """The gateway's own answer to a request. `status` is the HTTP status; the connection closes after it.

    The public message goes to the client; neither message holds a path, a header, a body or a secret.
    """

    def __init__(self, status: int, public: str, *, internal: str = "") -> None:
        super().__init__(public, internal=internal)
        self.status = status
