"""The path of a request in one canonical form, on which rules are decided.

What may have more than one meaning (dot segments, escaped slashes, parameters that some servers cut off) is said to be
doubtful: it may pass where no rule is about paths, and nowhere else. What is sent on is the path as it was received.
Source: RFC 3986, sections 3.3 and 6.2.2.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

TARGET_LIMIT_BYTES = 16_384
_TARGET = re.compile(rb"/[\x21\x22\x24-\x7e]*")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_DOUBTFUL = re.compile(r"//|[\\;]|%(?:2[fF]|3[bB]|5[cC]|25)")
_DOT_SEGMENT = re.compile(r"/\.{1,2}(?:/|$)")


@dataclass(frozen=True, kw_only=True)
class Path:
    """A path without its query. `canonical` is decoded text; `doubtful` says that servers may read it differently."""

    canonical: str
    doubtful: bool


def read_target(target: bytes) -> Path | None:
    """Read the target of a request (path and query); None if it is no path that can be passed on."""
    if len(target) > TARGET_LIMIT_BYTES or not _TARGET.fullmatch(target):
        return None
    path = target.partition(b"?")[0].decode("ascii")
    if "%" not in path and not _DOUBTFUL.search(path) and "/." not in path:
        return Path(canonical=path, doubtful=False)
    if _BAD_ESCAPE.search(path):
        return None
    try:
        text = unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        return Path(canonical=unquote_to_bytes(path).decode("latin-1"), doubtful=True)
    doubtful = bool(_DOUBTFUL.search(path) or _DOT_SEGMENT.search(text)) or not text.isprintable()
    return Path(canonical=text, doubtful=doubtful)
