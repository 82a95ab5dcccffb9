"""Where in a file something is: errors that name the file, the line, and what to do."""

import re

from subclaw.core.errors import Invalid

_TABLE = re.compile(r"^\s*\[\[?\s*([A-Za-z0-9_.*?\"' -]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"^\s*([A-Za-z0-9_.\"'-]+(?:\s*\.\s*[A-Za-z0-9_\"'-]+)*)\s*=")


def wrong(path: str, line: int, problem: str, remedy: str) -> Invalid:
    """Return the error of one place in a folder; `line` counts from 1."""
    return Invalid(f"{path}:{line}: {problem} {remedy}")


def line_of(text: str, where: tuple[str | int, ...]) -> int:
    """Return the line of a TOML file in which a value is set, or of the nearest table above it; 1 if there is none.

    `where` is a path of keys, and of numbers (from 0) in arrays of tables: as pydantic has it.
    """
    best, line = 0, 1
    table: tuple[str | int, ...] = ()
    counts: dict[tuple[str | int, ...], int] = {}
    for number, content in enumerate(text.split("\n"), start=1):
        if header := _TABLE.match(content):
            table = _table(_plain(header[1]).split("."), counts, is_array=content.lstrip().startswith("[["))
            found = table
        elif key := _KEY.match(content):
            found = (*table, *_plain(key[1]).split("."))
        else:
            continue
        if len(found) > best and where[: len(found)] == found:
            best, line = len(found), number
    return line


def _table(names: list[str], counts: dict[tuple[str | int, ...], int], *, is_array: bool) -> tuple[str | int, ...]:
    """Return the path of a table, with the numbers of the arrays that it is in; `counts` has the last of each."""
    path: tuple[str | int, ...] = ()
    for place, name in enumerate(names, start=1):
        path = (*path, name)
        if is_array and place == len(names):
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path


def _plain(name: str) -> str:
    return re.sub(r"\s*\.\s*", ".", name).replace('"', "").replace("'", "")
