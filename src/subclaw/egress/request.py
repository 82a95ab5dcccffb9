"""A request as the gateway has understood it, whichever version of HTTP it came by."""

from dataclasses import dataclass

from subclaw.egress.headers import Headers


@dataclass(frozen=True, kw_only=True)
class Request:
    """The head of a request. `target` is as it was received; header names are as they were written.

    HTTP/2's `:authority` stands among the headers as `host`.
    """

    method: bytes
    target: bytes
    headers: Headers

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of a header, whose name is in small letters."""
        return [value for key, value in self.headers if key.lower() == name]
