"""The egress benchmark's upstream: `python -m bench.egress_upstream FOLDER` serves on loopback, in TLS and in plain.

It writes its certificate authority into the folder (`upstream.pem`) and prints its two ports. A GET of `/bytes/N` gets
N bytes; any other request gets 1 kB once its body is there, if the secret is in its head.
"""

import asyncio
import re
import sys
from pathlib import Path
from typing import cast

import uvloop
from bench.egress_policy import HOST, OTHER_HOST, VALUE

from subclaw.testing.egress_machine import upstream_authority

ANSWER_BODY = (b'{"id": "chatcmpl-1", "object": "chat.completion", "text": "' + b"lorem ipsum " * 90)[:1_022] + b'"}'
_ANSWER = (
    b"HTTP/1.1 200 OK\r\ndate: Mon, 02 Jan 2006 15:04:05 GMT\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\nx-request-id: req_1\r\nserver: bench\r\n\r\n" % len(ANSWER_BODY)
) + ANSWER_BODY
_FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"
_PIECE = b"\0" * 65_536
_BYTES = re.compile(rb"GET /bytes/([0-9]+) ")
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_HOST = re.compile(rb"\r\nhost: *" + re.escape(OTHER_HOST.encode()), re.IGNORECASE)


class _Upstream(asyncio.Protocol):
    def __init__(self) -> None:
        self._head = b""
        self._left_bytes = 0
        self._to_send_bytes = 0
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._left_bytes:
            self._left_bytes -= len(data)
        else:
            self._head += data
            head, end, body = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            self._head = head + end
            length = _LENGTH.search(self._head)
            self._left_bytes = (int(length[1]) if length else 0) - len(body)
        if not self._left_bytes:
            self._answer(self._head)
            self._head = b""

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._send()

    def _answer(self, head: bytes) -> None:
        if wanted := _BYTES.match(head):
            self._to_send_bytes = int(wanted[1])
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % self._to_send_bytes)
            self._send()
        else:
            self._transport.write(_ANSWER if VALUE.encode() in head or _HOST.search(head) else _FORBIDDEN)

    def _send(self) -> None:
        while self._to_send_bytes and not self._paused:
            piece = _PIECE[: self._to_send_bytes]
            self._to_send_bytes -= len(piece)
            self._transport.write(piece)


async def _serve(folder: Path) -> None:
    authority = upstream_authority()
    (folder / "upstream.pem").write_text(authority.pem)
    loop = asyncio.get_running_loop()
    contexts = {name: authority.context(name) for name in (HOST, OTHER_HOST)}
    for context in contexts.values():
        context.set_alpn_protocols(["http/1.1"])
    first = contexts[HOST]
    first.sni_callback = lambda connection, name, _: setattr(connection, "context", contexts.get(name or HOST, first))
    secure = await loop.create_server(_Upstream, "127.0.0.1", 0, ssl=first)
    plain = await loop.create_server(_Upstream, "127.0.0.1", 0)
    print(*(server.sockets[0].getsockname()[1] for server in (secure, plain)), flush=True)
    await secure.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(Path(sys.argv[1])))
