"""What differs between two of an agent's folders, as a diff."""

import difflib
from collections.abc import Iterator, Mapping


def changes(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return the lines of a unified diff of what changes, file by file; nothing if nothing does."""
    return tuple(_lines(before, after))


def changed_paths(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> tuple[tuple[str, str], ...]:
    """Return what becomes of each file that changes (`added`, `removed`, `changed`) and its path."""
    return tuple(
        ("added" if path not in before else "removed" if path not in after else "changed", path)
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    )


def _lines(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> Iterator[str]:
    for what, path in changed_paths(before, after):
        old, new = _text(before.get(path, b"")), _text(after.get(path, b""))
        if old is None or new is None:
            yield f"{what}: {path} ({len(after.get(path, b'')):,} bytes)"
            continue
        names = "/dev/null" if what == "added" else f"a/{path}", "/dev/null" if what == "removed" else f"b/{path}"
        yield from difflib.unified_diff(old.splitlines(), new.splitlines(), *names, lineterm="", n=2)


def _text(content: bytes) -> str | None:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return None
