"""A request as the gateway has understood it, whichever version of HTTP it came by."""

from dataclasses import dataclass, replace

from subclaw.egress.http.framing import EMPTY, Framing, framing_of
from subclaw.egress.http.head import Likeness
from subclaw.egress.http.headers import with_length
from subclaw.egress.http.message import Message


@dataclass(frozen=True, kw_only=True)
class Request(Message):
    """The head of a request. `target` is as it was received; header names are as they were written.

    HTTP/2's `:authority` stands among the headers as `host`.
    """

    method: bytes
    target: bytes
    likeness: Likeness | None = None
    """All of its head but the length of the body, if that is known: two that are alike mean the same but for that."""
    length: bytes = b""
    """The digits of that length, as far as it was left out of the likeness."""

    def of_length(self, digits: bytes) -> "Request":
        """Return the request that is like this one and has such a length."""
        if digits == self.length:
            return self
        return replace(self, headers=with_length(self.headers, digits), length=digits)

    @property
    def framing(self) -> Framing:
        """How long its body is."""
        return Framing(length_bytes=int(self.length)) if self.length else framing_of(self.headers, EMPTY)

    @property
    def awaits_word(self) -> bool:
        """Whether the body only comes once it is asked for (RFC 9110, section 10.1.1)."""
        return any(value.lower() == b"100-continue" for value in self.values(b"expect"))
