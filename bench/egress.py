"""What a call through the egress gateway costs: CPU of the gateway's process a request, and the time it adds.

The gateway, an upstream and this client are three processes; connections are kept on both sides; a request has 2 kB, an
answer 1 kB, a secret is put in and answers are searched for it. The last line is one JSON object.
"""

import asyncio
import json
import logging
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import psutil
import uvloop

from subclaw.core.secret import SealedSecret
from subclaw.core.upstream import Upstream
from subclaw.egress.gateway import EgressSettings, ForControl, serve_egress
from subclaw.egress.keys import ensure_key, read_public_key
from subclaw.egress.seal import seal

REQUESTS = 6_000
CLIENTS = 4
_BODY = b"x" * 2_048
_FIELDS = b"".join(b"x-stainless-header-%d: some-value-%d\r\n" % (n, n) for n in range(8))
_ANSWER_BODY = (b'{"id": "chatcmpl-1", "object": "chat.completion", "text": "' + b"lorem ipsum " * 90)[:1_022] + b'"}'
_ANSWER = (
    b"HTTP/1.1 200 OK\r\ndate: Mon, 02 Jan 2006 15:04:05 GMT\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\nx-request-id: req_1\r\nserver: bench\r\n\r\n" % len(_ANSWER_BODY)
) + _ANSWER_BODY


class _Upstream(asyncio.Protocol):
    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        _, end, body = self._received.partition(b"\r\n\r\n")
        if end and len(body) >= len(_BODY):
            self._received = b""
            self._transport.write(_ANSWER)


async def _serve_upstream(path: Path) -> None:
    server = await asyncio.get_running_loop().create_server(_Upstream, "127.0.0.1", 0)
    draft = path.with_suffix(".draft")
    draft.write_text(str(server.sockets[0].getsockname()[1]))
    draft.rename(path)
    await server.serve_forever()


def _run_upstream(path: Path) -> None:
    uvloop.run(_serve_upstream(path))


def _run_gateway(folder: Path, port: int) -> None:
    value = "sk-bench-0123456789abcdef0123456789abcdef"
    sealed = SealedSecret(name="key", sealed=seal(read_public_key(folder), value, "key"))

    async def load() -> Sequence[SealedSecret]:
        return [sealed]

    logging.basicConfig(level=logging.INFO, filename=os.devnull)
    upstream = Upstream(name="model", base_url=f"http://127.0.0.1:{port}", secret="key")
    uvloop.run(
        serve_egress(
            EgressSettings(
                key_folder=folder,
                control=ForControl(
                    socket_path=folder / "egress.sock",
                    socket_gid=os.getgid(),
                    upstreams=(upstream,),
                    load_secrets=load,
                ),
            )
        )
    )


async def _calls(open_to: Callable[[], object], path: bytes, count: int) -> list[float]:
    reader, writer = await open_to()  # type: ignore[misc]
    request = (
        b"POST %s HTTP/1.1\r\nhost: egress\r\nauthorization: Bearer placeholder\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n%s\r\n" % (path, len(_BODY), _FIELDS)
    ) + _BODY
    took_ms = []
    for _ in range(count):
        started_s = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        await reader.readexactly(len(_ANSWER_BODY))
        took_ms.append((time.perf_counter() - started_s) * 1000)
    writer.close()
    return took_ms


async def _measure(gateway: psutil.Process, socket_path: Path, port: int) -> dict[str, float]:
    def through() -> object:
        return asyncio.open_unix_connection(socket_path)

    def direct() -> object:
        return asyncio.open_connection("127.0.0.1", port)

    rss_start = gateway.memory_info().rss
    await _calls(through, b"/model/v1/chat", 500)
    before, started_s = gateway.cpu_times(), time.perf_counter()
    batches = await asyncio.gather(*(_calls(through, b"/model/v1/chat", REQUESTS // CLIENTS) for _ in range(CLIENTS)))
    took_s, after = time.perf_counter() - started_s, gateway.cpu_times()
    cpu_s = after.user + after.system - before.user - before.system
    count = sum(map(len, batches))
    alone = await _calls(through, b"/model/v1/chat", 1_000)
    bare = await _calls(direct, b"/v1/chat", 1_000)
    return {
        "cpu_ms_per_request": round(cpu_s * 1000 / count, 4),
        "requests_per_cpu_s": round(count / cpu_s),
        "requests_per_s": round(count / took_s),
        "added_p50_ms": round(statistics.median(alone) - statistics.median(bare), 3),
        "added_p99_ms": round(statistics.quantiles(alone, n=100)[98] - statistics.quantiles(bare, n=100)[98], 3),
        "rss_start_mb": round(rss_start / 1e6, 1),
        "rss_mb": round(gateway.memory_info().rss / 1e6, 1),
    }


def _until(found: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 20
    while not found():
        if time.monotonic() > deadline_s:
            raise SystemExit("a process did not start")
        time.sleep(0.01)


def main() -> None:
    """Start the processes, measure, print, and end them."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ensure_key(folder, os.getuid(), os.getgid())
        upstream = spawn.Process(target=_run_upstream, args=(folder / "port",), daemon=True)
        upstream.start()
        try:
            _until((folder / "port").exists)
            port = int((folder / "port").read_text())
            gateway = spawn.Process(target=_run_gateway, args=(folder, port), daemon=True)
            gateway.start()
            try:
                _until((folder / "egress.sock").exists)
                figures = uvloop.run(_measure(psutil.Process(gateway.pid), folder / "egress.sock", port))
            finally:
                gateway.kill()
                gateway.join()
        finally:
            upstream.kill()
            upstream.join()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
