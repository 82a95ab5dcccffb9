"""A request as the gateway has understood it, whichever version of HTTP it came by."""

from dataclasses import dataclass

from subclaw.egress.http.message import Message


@dataclass(frozen=True, kw_only=True)
class Request(Message):
    """The head of a request. `target` is as it was received; header names are as they were written.

    HTTP/2's `:authority` stands among the headers as `host`.
    """

    method: bytes
    target: bytes

    @property
    def awaits_word(self) -> bool:
        """Whether the body only comes once it is asked for (RFC 9110, section 10.1.1)."""
        return any(value.lower() == b"100-continue" for value in self.values(b"expect"))
