"""A request that came by HTTP/2, in the shape that the gateway goes by. Pure.

Source: RFC 9113, section 8.
"""

import re
from collections.abc import Iterable

from subclaw.egress.http.head import framing_problem
from subclaw.egress.http.headers import Headers
from subclaw.egress.http.request import Request
from subclaw.egress.limits import Limits

_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_METHOD = re.compile(rb"[A-Z]{1,32}")


def read_request(fields: Iterable[tuple[bytes, bytes]], *, ended: bool) -> Request:
    """Bring a request into the shape that all have: the authority as Host, and a length or chunks said.

    `ended` says that it has no body.
    """
    pseudo: dict[bytes, bytes] = {}
    headers: Headers = []
    for raw_name, raw_value in fields:
        name, value = bytes(raw_name), bytes(raw_value)
        if name.startswith(b":"):
            pseudo[name] = value
        else:
            headers.append((name, value))
    if b":authority" in pseudo:
        headers = [(b"host", pseudo[b":authority"]), *headers]
    if not ended and not any(name == b"content-length" for name, _ in headers):
        headers.append((b"transfer-encoding", b"chunked"))
    return Request(method=pseudo.get(b":method", b""), target=pseudo.get(b":path", b""), headers=_joined(headers))


def problem_of(request: Request, limits: Limits) -> str:
    """Say what of a request could be read in two ways, also once it goes on by HTTP/1.1."""
    hosts = request.values(b"host")
    if len(set(hosts)) != 1 or len(hosts) > 2:
        return "there must be one authority with a host's name"
    if len(hosts) == 2:
        return "the host is named twice"
    if not _METHOD.fullmatch(request.method) or request.method in (b"CONNECT", b"TRACE"):
        return "that method is not allowed"
    if len(request.headers) > limits.headers:
        return "there are too many headers"
    if not all(_NAME.fullmatch(name) and _VALUE.fullmatch(value) for name, value in request.headers):
        return "a header is malformed"
    if not hosts[0].isascii():
        return "there must be one authority with a host's name"
    return framing_problem(request.headers) or ""


def _joined(headers: Headers) -> Headers:
    """Put cookies that came in pieces together again (RFC 9113, section 8.2.3)."""
    cookies = [value for name, value in headers if name == b"cookie"]
    if len(cookies) < 2:
        return headers
    return [*((name, value) for name, value in headers if name != b"cookie"), (b"cookie", b"; ".join(cookies))]
