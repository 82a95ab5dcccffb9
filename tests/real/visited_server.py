"""A server in a machine for tests: pages, posts that are counted, a WebSocket that speaks, and events.

It needs nothing but the standard library, and listens on the port that a service is told.
"""

import asyncio
import base64
import hashlib
import os
import sys

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
posts = 0


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request."""
    global posts
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, *fields = head.split("\r\n")
        method, path, _ = line.split(" ")
        named = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
        if path == "/ws":
            await speak(writer, named["sec-websocket-key"])
        elif path == "/events":
            await tell(writer)
        elif method == "POST":
            size = len(await reader.readexactly(int(named["content-length"])))
            posts += 1
            page(writer, f"{size} bytes, {posts} posts")
        elif path == "/end":
            os._exit(7)
        elif path == "/error":
            page(writer, "broken", "500 Broken")
        else:
            page(writer, f"hello from {os.getpid()}")
        await writer.drain()
    finally:
        writer.close()


def page(writer: asyncio.StreamWriter, text: str, status: str = "200 OK") -> None:
    """Answer with a page."""
    writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}".encode())


async def speak(writer: asyncio.StreamWriter, key: str) -> None:
    """Say something ten times a second."""
    accept = base64.b64encode(hashlib.sha1(key.encode() + MAGIC).digest()).decode()
    writer.write(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
    )
    while True:
        writer.write(b"\x81\x04tick")
        await writer.drain()
        await asyncio.sleep(0.1)


async def tell(writer: asyncio.StreamWriter) -> None:
    """Send events."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"c\r\ndata: tick\n\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.1)


async def serve() -> None:
    """Serve until the process is ended."""
    server = await asyncio.start_server(answer, "127.0.0.1", int(os.environ.get("PORT") or sys.argv[1]), backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
