"""What the door itself answers with when the machine does not: a small page that loads nothing, and tries again."""

import asyncio
import contextlib
from html import escape

from subclaw.core.waking import RESTING_HEADER, Refusal

AGAIN_S = 5
REST_S = 600
DRAINED_BYTES = 1024**2
DRAIN_S = 2.0
PIECE_BYTES = 65_536

NO_REQUEST = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
STYLE = (
    "body{font:1.1rem/1.5 system-ui,sans-serif;display:grid;place-content:center;min-height:90vh;margin:0 1.5rem;"
    "text-align:center}:root{color-scheme:light dark}h1{font-size:1.6rem;margin:0}p{margin:.5rem 0;opacity:.75}"
)


def waking_page() -> bytes:
    """Return the answer while a server does not answer: come again in a moment."""
    return _answer(
        "503 Service Unavailable",
        "One moment",
        "This site is waking up. The page tries again by itself.",
        again_s=AGAIN_S,
        reload=True,
    )


def refusal_page(refusal: Refusal) -> bytes:
    """Return the answer to a visit that the machine is not to serve. The router may have files to show instead."""
    if refusal is Refusal.TOO_FAST:
        title, text = "Slow down a little", "You asked for too much at once. Try again in a moment."
        return _answer("429 Too Many Requests", title, text, again_s=AGAIN_S)
    title, text = "This site is resting", "It cannot be shown right now. Come back later."
    away_s = AGAIN_S if refusal is Refusal.AWAY else REST_S
    return _answer("503 Service Unavailable", title, text, again_s=away_s, mark=refusal.name.lower())


def _answer(status: str, title: str, text: str, *, again_s: int, reload: bool = False, mark: str = "") -> bytes:
    again = f'<meta http-equiv="refresh" content="{again_s}">' if reload else ""
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8">{again}<meta name="viewport" '
        f'content="width=device-width,initial-scale=1"><title>{escape(title)}</title><style>{STYLE}</style>'
        f"<h1>{escape(title)}</h1><p>{escape(text)}</p></html>"
    ).encode()
    head = [
        f"HTTP/1.1 {status}",
        "Content-Type: text/html; charset=utf-8",
        f"Content-Length: {len(page)}",
        f"Retry-After: {again_s}",
        "Cache-Control: no-store",
        "Connection: close",
        *([f"{RESTING_HEADER}: {mark}"] if mark else []),
    ]
    return "\r\n".join((*head, "", "")).encode() + page


async def answer_with(content: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send an answer, and take in for a moment what is still on its way: else that could cut the answer off."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            writer.write(content)
            await writer.drain()
            writer.write_eof()
            left_bytes = DRAINED_BYTES
            while left_bytes > 0 and (piece := await reader.read(PIECE_BYTES)):
                left_bytes -= len(piece)
