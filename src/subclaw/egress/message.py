"""What the heads of messages say, once they were checked (`head`): read by splitting, since nothing else is left."""

from dataclasses import dataclass

from subclaw.egress.headers import Headers, named_by_connection


@dataclass(frozen=True, kw_only=True)
class Response:
    """The head of an answer; header names are as they were written. `closes`: its connection ends with it."""

    status: int
    headers: Headers
    closes: bool

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of a header, whose name is in small letters."""
        return [value for key, value in self.headers if key.lower() == name]


def read_request_line(head: bytes) -> tuple[bytes, bytes]:
    """Return the method and the target of a checked request."""
    method, target, _ = head[: head.index(b"\r\n")].split(b" ")
    return method, target


def read_headers(head: bytes) -> Headers:
    """Return the headers of a checked head."""
    lines = head[:-4].split(b"\r\n")
    del lines[0]
    headers = []
    for line in lines:
        name, _, value = line.partition(b":")
        headers.append((name, value.strip(b" \t")))
    return headers


def read_response(head: bytes) -> Response:
    """Return what the checked head of an answer says."""
    headers = read_headers(head)
    closes = head.startswith(b"HTTP/1.0") or says_close(headers)
    return Response(status=int(head[9:12]), headers=headers, closes=closes)


def says_close(headers: Headers) -> bool:
    """Return whether the connection ends with this message (RFC 9112, section 9.6)."""
    return b"close" in named_by_connection(headers)


def write_head(line: bytes, headers: Headers) -> bytes:
    """Return a head's bytes. `line` is its first line."""
    fields = [b"%b: %b\r\n" % pair for pair in headers]
    return b"%b\r\n%b\r\n" % (line, b"".join(fields))
