"""What is around the database: logs, the state folder, the console's pages."""

import asyncio
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx2

from subclaw.audit.installation import Installation
from subclaw.audit.watch import Watch
from subclaw.core.errors import Unavailable

PIECE_BYTES = 1_000_000
OVERLAP_BYTES = 1_000
"""More than the longest encoding of a canary takes, so that none is cut in two."""
PAGES_LIMIT = 300
_LINK = re.compile(r'href="(/console[^"#]*)"')


async def search_files(installation: Installation, watch: Watch) -> None:
    """Search logs, and the files of the state folder."""
    for area, folders in (("logs", installation.logs), ("files", installation.folders)):
        for folder in folders:
            await asyncio.to_thread(_search_folder, folder, watch, area)


def _search_folder(folder: Path, watch: Watch, area: str) -> None:
    for path in [folder] if folder.is_file() else sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            watch.look(str(path.relative_to(folder)), area=area, place=f"a name in {folder.name}", owner=None)
            for piece in _pieces(path):
                watch.look(piece, area=area, place=f"file {folder.name}/{path.relative_to(folder)}", owner=None)


def _pieces(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            before = b""
            while piece := file.read(PIECE_BYTES):
                yield (before + piece).decode("latin-1")
                before = piece[-OVERLAP_BYTES:]
    except OSError:  # it went meanwhile, or is no file after all
        return


async def search_console(installation: Installation, watch: Watch, tenant_ids: Sequence[int]) -> None:
    """Search the console's pages, as the operator sees them: those that lead to each other, and each customer's.

    Errors: `Unavailable` if one cannot be had.
    """
    if not installation.console:
        return
    address, _, key = installation.console.partition("#")
    base = address.removesuffix("/console/enter")
    headers = {**installation.headers, "Origin": base}
    async with httpx2.AsyncClient(base_url=installation.url, headers=headers, trust_env=False, timeout=30) as client:
        entered = await client.post("/console/enter", data={"key": key})
        cookie = entered.headers.get("set-cookie", "").partition(";")[0]
        client.headers["Cookie"] = cookie
        todo, known = ["/console", *(f"/console/tenants/{id}" for id in tenant_ids)], set[str]()
        while todo and len(known) < PAGES_LIMIT:
            path = todo.pop(0)
            if path in known:
                continue
            known.add(path)
            response = await client.get(path)
            if response.status_code != 200:
                raise Unavailable(f"The audit cannot go on: {_kind(path)} answered with {response.status_code}.")
            watch.look(response.text, area="console", place=f"console page {_kind(path)}", owner=None)
            todo += [link for link in _LINK.findall(response.text) if "assets" not in link]


def _kind(path: str) -> str:
    return re.sub(r"[0-9]+", "N", path.partition("?")[0])
