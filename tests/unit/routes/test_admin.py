"""The admin API's client against a Caddy that misbehaves: whatever it does, the answer is `Unavailable`, in time."""

import asyncio
from pathlib import Path

import pytest

from subclaw.core.errors import Unavailable
from subclaw.routes.admin import AdminReply, ask
from subclaw.routes.caddy import CaddyRoutes
from subclaw.routes.config import CaddySettings

WHOLE = (
    b"HTTP/1.1 200 OK\r\nTrailer: ETag\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'7\r\n{"a":1}\r\n0\r\nEtag: "/config/x/7 0badcafe"\r\n\r\n'
)


async def ask_one_that(answers: bytes | None, socket: Path) -> AdminReply:
    """Ask a server that answers with these bytes and closes, or, for None, never answers."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if answers is None:
            await over.wait()
        else:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answers)
        writer.close()

    async with await asyncio.start_unix_server(serve, str(socket)):
        try:
            return await ask(socket, "GET", "/id/x", timeout_s=0.2 if answers is None else 10)
        finally:
            over.set()


def test_the_tag_comes_from_the_trailer_and_tells_the_place(tmp_path: Path) -> None:
    reply = asyncio.run(ask_one_that(WHOLE, tmp_path / "s"))
    assert (reply.status, reply.json(), reply.path) == (200, {"a": 1}, "/config/x/7")


@pytest.mark.parametrize("answers", [None, b"", WHOLE[:60], WHOLE[:-4], b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n"])
def test_anything_else_is_unavailable(answers: bytes | None, tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        asyncio.run(ask_one_that(answers, tmp_path / "s"))


def test_no_caddy_is_unavailable_after_a_bounded_number_of_tries(tmp_path: Path) -> None:
    settings = CaddySettings(
        domain="localhost",
        port=8080,
        control_socket=tmp_path / "control",
        admin_socket=tmp_path / "nobody",
        state=tmp_path,
    )
    with pytest.raises(Unavailable):
        asyncio.run(asyncio.wait_for(CaddyRoutes(settings).remove("ann.localhost"), 10))
