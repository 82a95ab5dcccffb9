"""A request that came by HTTP/2: whether it is one, and what it says in the shape that the gateway goes by. Pure.

`h2` would check the same, but end the whole connection, with every other request of it, for one that is malformed.
Source: RFC 9113, sections 8.1 to 8.3.
"""

import re

from subclaw.egress.http.head import HOST, framing_problem
from subclaw.egress.http.headers import Headers
from subclaw.egress.http.request import Request
from subclaw.egress.limits import Limits
from subclaw.egress.refusal import Refusal

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_METHOD = re.compile(rb"[A-Z]{1,32}")
_TARGET = re.compile(rb"[\x21-\x7e]+")
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*")
_NO_METHODS = (b"CONNECT", b"TRACE")
_NEEDED = frozenset((b":method", b":scheme", b":path"))
_PSEUDO_HEADERS = _NEEDED | {b":authority"}
_OF_CONNECTIONS = frozenset(b"connection proxy-connection keep-alive transfer-encoding upgrade".split())


def read_request(fields: Headers, limits: Limits, *, ended: bool) -> Request | Refusal:
    """Return the request that header fields are, or why they are none, or one that could be read in two ways.

    `ended` says that no body follows. Of the request, the authority stands as Host, and a length or chunks are said.
    """
    pseudo = {name: value for name, value in fields if name.startswith(b":")}
    headers = [(name, value) for name, value in fields if not name.startswith(b":")]
    if problem := _line_problem(fields, pseudo) or fields_problem(headers):
        return Refusal(400, problem)
    if b":authority" in pseudo:
        headers.insert(0, (b"host", pseudo[b":authority"]))
    if problem := _doubt(headers, limits, ended=ended):
        return Refusal(400, problem)
    if not ended and not any(name == b"content-length" for name, _ in headers):
        headers.append((b"transfer-encoding", b"chunked"))
    return Request(method=pseudo[b":method"], target=pseudo[b":path"], headers=_joined(headers))


def fields_problem(headers: Headers) -> str:
    """Say why headers, or trailers, are malformed; nothing if they are sound."""
    for name, value in headers:
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value) or value != value.strip(b" \t"):
            return "a header is malformed"
        if name in _OF_CONNECTIONS or (name == b"te" and value.lower() != b"trailers"):
            return "a header is about connections, as there are none in HTTP/2"
    return ""


def _line_problem(fields: Headers, pseudo: dict[bytes, bytes]) -> str:
    """Say why pseudo-headers are not those of a request that is carried out here."""
    if [name for name, _ in fields if name.startswith(b":")] != [name for name, _ in fields[: len(pseudo)]]:
        return "a pseudo-header comes twice or after a header"
    method = pseudo.get(b":method", b"")
    if not _METHOD.fullmatch(method) or method in _NO_METHODS:
        return "that method is not allowed"
    if not _NEEDED <= pseudo.keys() <= _PSEUDO_HEADERS:
        return "the pseudo-headers are not those of a request"
    if not _TARGET.fullmatch(pseudo[b":path"]) or not _SCHEME.fullmatch(pseudo[b":scheme"]):
        return "the target is malformed"
    return ""


def _doubt(headers: Headers, limits: Limits, *, ended: bool) -> str:
    """Say what of a request could be read in two ways, also once it goes on by HTTP/1.1."""
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) == 2 and hosts[0] == hosts[1]:
        return "the host is named twice"
    if len(hosts) != 1 or not HOST.fullmatch(hosts[0]):
        return "there must be one authority with a host's name"
    if len(headers) > limits.headers:
        return "there are too many headers"
    if problem := framing_problem(headers):
        return problem
    if ended and any(name == b"content-length" and int(value) for name, value in headers):
        return "the body is shorter than its length"
    return ""


def _joined(headers: Headers) -> Headers:
    """Put cookies that came in pieces together again (RFC 9113, section 8.2.3)."""
    cookies = [value for name, value in headers if name == b"cookie"]
    if len(cookies) < 2:
        return headers
    return [*((name, value) for name, value in headers if name != b"cookie"), (b"cookie", b"; ".join(cookies))]
