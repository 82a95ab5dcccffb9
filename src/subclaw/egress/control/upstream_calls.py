"""Which calls may go out: a pure decision on the method and the request target, before anything else is done.

The target's path is brought into one canonical form, and what has no single meaning is refused, not repaired: rules and
upstreams then read the same path. Source: RFC 3986, sections 3.3 and 6.2.2.
"""

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote_to_bytes

from subclaw.core.upstream import Allowed, Decision, Refused, Upstream
from subclaw.egress.control.destination import destination

TARGET_LIMIT_CHARACTERS = 8_192
_PATH = re.compile(r"/[A-Za-z0-9\-._~!$&'()*+,;=:@%/]*")
_QUERY = re.compile(r"[\x21\x22\x24-\x7e]*")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_LITERAL = "!$&'()*+,;=:@-._~"


def decide(upstreams: Mapping[str, Upstream], method: str, target: str) -> Decision:
    """Decide whether a request may go out, and to which path.

    `target` is the request target as it was received; its first path segment names the upstream. `Allowed.url_path` is
    the upstream's base path, the rest of the canonical path, and the query as it was.
    """
    if len(target) > TARGET_LIMIT_CHARACTERS:
        return Refused(reason="the path is too long")
    path, mark, query = target.partition("?")
    segments = _canonical_segments(path)
    if isinstance(segments, Refused):
        return segments
    if not _QUERY.fullmatch(query) or _BAD_ESCAPE.search(query):
        return Refused(reason="the query holds characters that do not belong there")
    name, *rest = segments
    upstream = upstreams.get(name)
    if upstream is None:
        return Refused(reason="no upstream of that name is allowed")
    if method not in upstream.methods:
        return Refused(reason=f"that method is not allowed for {upstream.name}")
    url_path = "/".join([destination(upstream).base_path, *rest]) or "/"
    return Allowed(upstream=upstream, url_path=url_path + mark + query)


def _canonical_segments(path: str) -> list[str] | Refused:
    """Split a path into canonical segments; only the last may be empty (a slash at the end)."""
    if not path.startswith("/"):
        return Refused(reason="the target must be a path")
    if not _PATH.fullmatch(path) or _BAD_ESCAPE.search(path):
        return Refused(reason="the path holds characters that do not belong there")
    segments = path[1:].split("/")
    if "" in segments[:-1] or segments == [""]:
        return Refused(reason="the path has an empty segment")
    if "%" not in path and "/." not in path:
        return segments
    canonical: list[str] = []
    for segment in segments:
        found = _canonical(segment)
        if isinstance(found, Refused):
            return found
        canonical.append(found)
    return canonical


def _canonical(segment: str) -> str | Refused:
    try:
        text = unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        return Refused(reason="the path holds an escape that is not text")
    # Some servers cut a segment at its first semicolon before they look for dots.
    if text.partition(";")[0] in (".", ".."):
        return Refused(reason="the path has a dot segment")
    if "%2e" in segment.lower():
        return Refused(reason="the path has an escaped dot")
    if "%" in segment and any(c in "/\\%" or not c.isprintable() for c in text):
        return Refused(reason="the path has an escaped slash, percent sign or control character")
    return quote(text, safe=_LITERAL)
