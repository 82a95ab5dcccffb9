"""Tars for tests: trees of files as bytes, in each of the formats that are around, and hostile ones made by hand."""

import io
import tarfile
from collections.abc import AsyncIterator, Mapping

Tree = Mapping[str, bytes]


def tar_of(tree: Tree, *, style: int = tarfile.PAX_FORMAT, prefix: str = "./") -> bytes:
    """Return a tar of files by path, with the folder itself first, as `tar -C folder -c .` has it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=style) as tar:
        tar.addfile(_folder(prefix or "."))
        for path, content in tree.items():
            info = tarfile.TarInfo(prefix + path)
            info.size = len(content)
            info.mtime = 1_700_000_000.25 if style == tarfile.PAX_FORMAT else 1_700_000_000
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def tar_of_one(name: str, *, kind: bytes = tarfile.REGTYPE, content: bytes = b"", link: str = "") -> bytes:
    """Return a tar with an index.html and one more entry of any type and name."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        index = tarfile.TarInfo("index.html")
        tar.addfile(index)
        info = tarfile.TarInfo(name)
        info.type, info.size, info.linkname = kind, len(content), link
        tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def _folder(path: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path)
    info.type = tarfile.DIRTYPE
    return info


async def stream(content: bytes, *, chunk_bytes: int = 65_536) -> AsyncIterator[bytes]:
    """Yield bytes as a machine's archive does."""
    for start in range(0, len(content), chunk_bytes):
        yield content[start : start + chunk_bytes]
