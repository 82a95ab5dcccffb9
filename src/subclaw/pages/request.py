"""What is asked of any request: a body within bounds, and whether a page of ours sent it."""

from collections.abc import Mapping
from urllib.parse import urlsplit

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


def is_same_origin(headers: Mapping[str, str]) -> bool:
    """Tell whether a request comes from a page of this very origin, or from a program that is not a browser.

    `Sec-Fetch-Site` decides where the browser sends it; elsewhere `Origin` must name the host that was asked. Requests
    with neither carry no ambient cookie. `SameSite` alone would not do: a tenant's site may be same-site.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


def is_https(public_url: str) -> bool:
    """Tell whether people reach us by https."""
    return public_url.lower().startswith("https://")
