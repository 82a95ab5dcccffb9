"""The world outside, on loopback: registries, a git host, an API, a WebSocket and a stream, by TLS and by name."""

import asyncio
import base64
import hashlib
import io
import json
import os
import ssl
import subprocess
import tarfile
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import WSMsgType, web

from subclaw.testing.egress_machine import upstream_authority

HOSTS = ("pypi.test", "npm.test", "git.test", "api.test", "live.test")
PIECES = 5


@dataclass(kw_only=True)
class Outside:
    """What a test sees of it. `authority` is in PEM; `asked` has what each request was: host, method, path, headers."""

    folder: Path
    authority: str
    port: int = 0
    asked: list[tuple[str, str, str, dict[str, str]]] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    """The stream's pieces after the first wait for this."""

    def url(self, host: str) -> str:
        """Return the address of one of the hosts."""
        return f"https://{host}:{self.port}"


@asynccontextmanager
async def running_outside(folder: Path) -> AsyncIterator[Outside]:
    """Serve all of the hosts on one port; `folder` is for the files that they have."""
    authority = upstream_authority()
    contexts = {host: authority.context(host) for host in HOSTS}
    for context in contexts.values():
        context.set_alpn_protocols(["http/1.1"])

    def choose(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        connection.context = contexts[name or HOSTS[0]]

    tls = contexts[HOSTS[0]]
    tls.sni_callback = choose
    outside = Outside(folder=folder, authority=authority.pem)
    make_files(folder)
    runner = web.AppRunner(app(outside), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    outside.port = runner.addresses[0][1]
    try:
        yield outside
    finally:
        await runner.cleanup()


def app(outside: Outside) -> web.Application:
    """Return what answers for all hosts."""

    async def answer(request: web.Request) -> web.StreamResponse:
        host = request.host.partition(":")[0]
        outside.asked.append((host, request.method, request.path, dict(request.headers)))
        match host:
            case "git.test":
                return await git(outside, request)
            case "api.test":
                return web.json_response({"you": request.headers.get("Authorization", "nobody")})
            case "live.test" if request.path == "/socket":
                return await echo(request)
            case "live.test":
                return await stream(outside, request)
            case "npm.test" if not request.path.endswith(".tgz"):
                return web.json_response(package(outside))
            case _:
                return await static(outside.folder / host.partition(".")[0], request)

    made = web.Application(client_max_size=2**26)
    made.router.add_route("*", "/{path:.*}", answer)
    return made


async def static(folder: Path, request: web.Request) -> web.StreamResponse:
    """Answer with a file, or with a list of a folder's files as a package index has it."""
    path = folder / request.path.strip("/")
    if path.is_dir():
        links = "".join(f'<a href="{file.name}">{file.name}</a>' for file in sorted(path.iterdir()))
        return web.Response(text=f"<!DOCTYPE html><html><body>{links}</body></html>", content_type="text/html")
    return web.FileResponse(path) if path.is_file() else web.Response(status=404)


async def echo(request: web.Request) -> web.StreamResponse:
    """Say back what is said."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(f"you said {message.data}")
    return socket


async def stream(outside: Outside, request: web.Request) -> web.StreamResponse:
    """Send events; all but the first wait until somebody has seen that."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for number in range(PIECES):
        await response.write(f"data: piece {number}\n\n".encode())
        await outside.release.wait()
    return response


async def git(outside: Outside, request: web.Request) -> web.StreamResponse:
    """Answer as git's own server for HTTP does (git-http-backend)."""
    process = await asyncio.create_subprocess_exec(
        "git",
        "http-backend",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={
            **os.environ,
            "GIT_PROJECT_ROOT": str(outside.folder / "git"),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": request.path,
            "QUERY_STRING": request.query_string,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
        },
    )
    output, _ = await process.communicate(await request.read())
    head, _, body = output.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
    return web.Response(status=int(headers.pop("Status", "200")[:3]), headers=headers, body=body)


def make_files(folder: Path) -> None:
    """Make a Python package, a JavaScript package and a git repository."""
    make_wheel(folder / "pypi" / "simple" / "pebble-stone")
    make_tarball(folder / "npm")
    repository = folder / "git" / "stone.git"
    work = folder / "work"
    somebody = ("-c", "user.name=a", "-c", "user.email=a@api.test")
    for arguments in (
        ["init", "-q", "-b", "main", str(work)],
        ["-C", str(work), *somebody, "commit", "-q", "--allow-empty", "-m", "first stone"],
        ["clone", "-q", "--bare", str(work), str(repository)],
    ):
        subprocess.run(["git", *arguments], check=True)


def make_wheel(folder: Path) -> None:
    """Make a package that pip can install."""
    folder.mkdir(parents=True)
    files = {
        "pebble_stone.py": "SAYS = 'installed by pip'\n",
        "pebble_stone-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: pebble-stone\nVersion: 1.0\n",
        "pebble_stone-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in files) + "pebble_stone-1.0.dist-info/RECORD,,\n"
    with zipfile.ZipFile(folder / "pebble_stone-1.0-py3-none-any.whl", "w") as wheel:
        for name, text in (files | {"pebble_stone-1.0.dist-info/RECORD": record}).items():
            wheel.writestr(name, text)


def make_tarball(folder: Path) -> None:
    """Make a package that npm can install."""
    folder.mkdir(parents=True)
    package = {"name": "pebble", "version": "1.0.0", "main": "index.js"}
    files = {"package/package.json": json.dumps(package), "package/index.js": "module.exports = 'installed by npm';\n"}
    with tarfile.open(folder / "pebble-1.0.0.tgz", "w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))


def package(outside: Outside) -> dict[str, object]:
    """Return what the registry says of the JavaScript package."""
    digest = hashlib.sha512((outside.folder / "npm" / "pebble-1.0.0.tgz").read_bytes()).digest()
    where = {
        "tarball": f"{outside.url('npm.test')}/pebble-1.0.0.tgz",
        "integrity": f"sha512-{base64.b64encode(digest).decode()}",
    }
    version = {"name": "pebble", "version": "1.0.0", "main": "index.js", "dist": where}
    return {"name": "pebble", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
