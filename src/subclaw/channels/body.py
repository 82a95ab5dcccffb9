"""Reading a request's body with a bound."""

from starlette.requests import Request


async def read_body(request: Request, *, limit_bytes: int) -> bytes | None:
    """Return the raw body, or None as soon as it turns out longer than the limit (the rest is not read)."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > limit_bytes:
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit_bytes:
            return None
    return bytes(body)


def media_type(request: Request) -> str:
    """Return the content type without its parameters, in lower case."""
    return request.headers.get("content-type", "").split(";", 1)[0].strip().lower()
