"""Messages, once their heads were checked (`head`)."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from subclaw.egress.http.framing import EMPTY, Framing, framing_of
from subclaw.egress.http.head import likeness_of, sound_request
from subclaw.egress.http.headers import Headers


@dataclass(frozen=True, kw_only=True)
class Message:
    """What requests and answers have in common: their headers, whose names are as they were written."""

    headers: Headers

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of a header, whose name is in small letters."""
        return self._by_name.get(name, [])

    @property
    def says_close(self) -> bool:
        """See the function."""
        return says_close(self.values(b"connection"))

    @cached_property
    def _by_name(self) -> dict[bytes, list[bytes]]:
        found: dict[bytes, list[bytes]] = {}
        for name, value in self.headers:
            found.setdefault(name.lower(), []).append(value)
        return found


@dataclass(frozen=True, kw_only=True)
class Response(Message):
    """The head of an answer; its headers' names are in small letters. `closes`: its connection ends with it."""

    status: int
    closes: bool

    def values(self, name: bytes) -> list[bytes]:
        """See `Message.values`."""
        return [value for key, value in self.headers if key == name]


def says_close(values: Iterable[bytes]) -> bool:
    """Return whether a connection ends with a message, by its `Connection` headers (RFC 9112, section 9.6)."""
    return any(b"close" in map(bytes.strip, value.lower().split(b",")) for value in values)


def read_response(head: bytes, headers: Headers) -> Response:
    """Return what the sound head of an answer says. `headers` are its own, their names in small letters."""
    closes = head.startswith(b"HTTP/1.0") or says_close([value for name, value in headers if name == b"connection"])
    return Response(status=int(head[9:12]), headers=headers, closes=closes)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHead:
    """The head of a request as it goes out, and how long it says the body is."""

    method: bytes
    framing: Framing
    data: bytes

    def of_length(self, digits: bytes) -> "RequestHead":
        """Return the same head with another length of the body, where it says one."""
        (before, after), _ = likeness_of(self.data)
        if after is None:
            return self
        return RequestHead(method=self.method, framing=Framing(length_bytes=int(digits)), data=before + digits + after)


def write_request(method: bytes, target: str, headers: Headers) -> RequestHead:
    """Return a request's head, the framing of its body being among the headers.

    Errors: `ValueError` for what is no sound head.
    """
    data = write_head(b"%b %b HTTP/1.1" % (method, target.encode()), headers)
    if not sound_request(data):
        raise ValueError("a request that is not sound was about to go out")
    return RequestHead(method=method, framing=framing_of(headers, EMPTY), data=data)


def write_head(line: bytes, headers: Headers) -> bytes:
    """Return a head's bytes. `line` is its first line."""
    fields = [b"%b: %b\r\n" % pair for pair in headers]
    return b"%b\r\n%b\r\n" % (line, b"".join(fields))
