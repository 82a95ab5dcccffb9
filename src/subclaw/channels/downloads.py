"""Files that are fetched from providers, which may be larger than they said."""

from collections.abc import AsyncIterable

from subclaw.core.errors import Invalid


async def gathered(pieces: AsyncIterable[bytes], limit_bytes: int) -> bytes:
    """Return the whole of what comes in pieces. Errors: `Invalid` as soon as it is too large; whatever breaks off."""
    content = bytearray()
    async for piece in pieces:
        content += piece
        require_at_most(len(content), limit_bytes)
    return bytes(content)


def require_at_most(size_bytes: int, limit_bytes: int) -> None:
    """Refuse what is too large. Errors: `Invalid`."""
    if size_bytes > limit_bytes:
        raise Invalid(f"It is larger than {limit_bytes:,} bytes.")
