"""What a command lists, as a table or as JSON."""

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

Row = dict[str, Any]


def show(rows: Sequence[Row], console: Console, *, as_json: bool, none: str) -> None:
    """Print rows that have the same keys; in place of an empty table, the words for it.

    A table leaves out columns in which there is nothing.
    """
    if as_json:
        console.print_json(json.dumps(rows))
    elif not rows:
        console.print(none)
    else:
        columns = [name for name in rows[0] if any(row[name] != "" for row in rows)]
        table = Table(*columns, box=None, header_style="bold")
        for row in rows:
            table.add_row(*(Text(_shown(row[name])) for name in columns))
        console.print(table)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
