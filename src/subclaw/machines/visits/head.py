"""The heads of requests and answers (HTTP/1.1, RFC 9112), read as they pass by. The router has made them orderly."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass

from subclaw.core.errors import Invalid
from subclaw.core.waking import visitor_of

HEAD_LIMIT_BYTES = 65_536
HEAD_S = 10.0
END = b"\r\n\r\n"
REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) \S+ HTTP/1\.[01]")
STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)( .*)?")


@dataclass(frozen=True, kw_only=True)
class RequestHead:
    """What a visitor asks for. `content` is to be passed on as it came; `has_body` says that more may follow."""

    content: bytes
    method: str
    visitor: str
    user_agent: str
    has_body: bool


@dataclass(frozen=True, kw_only=True)
class AnswerHead:
    """How a server begins to answer."""

    status: int
    fields: Mapping[str, str]


async def read_head(reader: asyncio.StreamReader) -> RequestHead | None:
    """Read a request's head, and nothing behind it; None if nothing comes. Raises `Invalid`, `OSError`."""
    try:
        async with asyncio.timeout(HEAD_S):
            content = await reader.readuntil(END)
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            return None
        raise Invalid("That is no request.") from error
    except (asyncio.LimitOverrunError, TimeoutError) as error:
        raise Invalid("That is no request.") from error
    line, _, rest = content.partition(b"\r\n")
    match = REQUEST_LINE.fullmatch(line)
    if match is None:
        raise Invalid("That is no request.")
    fields = fields_of(rest)
    return RequestHead(
        content=content,
        method=match[1].decode(),
        visitor=visitor_of(fields.get("x-forwarded-for", "")),
        user_agent=fields.get("user-agent", ""),
        has_body=fields.get("content-length", "0") != "0" or "transfer-encoding" in fields,
    )


def answer_head(content: bytes) -> AnswerHead | None:
    """Return what an answer's head says, None if it is none."""
    line, _, rest = content.partition(b"\r\n")
    match = STATUS_LINE.fullmatch(line)
    return AnswerHead(status=int(match[1]), fields=fields_of(rest)) if match else None


def fields_of(lines: bytes) -> dict[str, str]:
    """Return a head's fields by their names in small letters; of one that comes twice, the last."""
    pairs = (line.partition(b":") for line in lines.split(b"\r\n"))
    return {name.decode("latin-1").lower(): value.decode("latin-1").strip() for name, colon, value in pairs if colon}
