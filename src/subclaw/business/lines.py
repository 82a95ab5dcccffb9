"""Where in a file something is: errors that name the file, the line, and what to do."""

import re

from subclaw.core.errors import Invalid

_TABLE = re.compile(r"^\s*\[\[?\s*([A-Za-z0-9_.\"' -]+?)\s*\]\]?\s*(?:#.*)?$")
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
    counts: dict[str, int] = {}
    for number, content in enumerate(text.split("\n"), start=1):
        if header := _TABLE.match(content):
            name = _plain(header[1])
            if content.lstrip().startswith("[["):
                counts[name] = counts.get(name, -1) + 1
                table = (*name.split("."), counts[name])
            else:
                table = tuple(name.split("."))
            found = table
        elif key := _KEY.match(content):
            found = (*table, *_plain(key[1]).split("."))
        else:
            continue
        if len(found) > best and where[: len(found)] == found:
            best, line = len(found), number
    return line


def _plain(name: str) -> str:
    return re.sub(r"\s*\.\s*", ".", name).replace('"', "").replace("'", "")
