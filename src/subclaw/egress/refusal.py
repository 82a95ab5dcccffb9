"""A refusal: why a client of the gateway gets an error and not the upstream's answer."""

from subclaw.core.errors import SubclawError

UNSENT_HEADER = "x-egress-unsent"
"""The header of an answer that is the gateway's own, where the call certainly reached no upstream."""


class Refusal(SubclawError):
    """The gateway's own answer to a request. `status` is the HTTP status; the connection closes after it.

    The public message goes to the client; neither message holds a path, a header, a body or a secret. What is refused
    `unsent` certainly reached no upstream, and the client is told so.
    """

    def __init__(self, status: int, public: str, *, internal: str = "", unsent: bool = False) -> None:
        super().__init__(public, internal=internal)
        self.status = status
        self.unsent = unsent
