"""Files of a release compressed once, when it is published, beside what they are made of: `style.css.gz`."""

import gzip
import os
from pathlib import Path

_COMPRESSIBLE = frozenset(
    ".atom .css .csv .geojson .htm .html .ico .js .json .map .md .mjs .rss .svg .txt .wasm .webmanifest .xml".split()
)
_LEAST_BYTES = 1024
"""What is shorter fits into the first packet as it is."""

_LEVEL = 9


def compress_file(path: Path) -> None:
    """Put a compressed copy beside a file, if it is worth it and the name is free. Errors: `OSError`.

    The copy has the file's mode and time, by which Caddy makes its ETag.
    """
    target = path.with_name(f"{path.name}.gz")
    if path.suffix.lower() not in _COMPRESSIBLE or target.exists() or path.stat().st_size < _LEAST_BYTES:
        return
    content = path.read_bytes()
    compressed = gzip.compress(content, _LEVEL, mtime=0)
    if len(compressed) > 0.9 * len(content):
        return
    seen = path.stat()
    with open(target, "xb") as file:
        file.write(compressed)
        os.fchmod(file.fileno(), seen.st_mode & 0o777)
    os.utime(target, ns=(seen.st_atime_ns, seen.st_mtime_ns))
