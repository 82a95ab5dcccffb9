"""TOML files of an agent's folder: read strictly, and what is wrong told by file, line and remedy."""

import re
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from subclaw.business.lines import line_of, wrong

Model = TypeVar("Model", bound=BaseModel)


class _Anything(BaseModel):
    """A file of which only the syntax counts."""


_AT = re.compile(r" \((?:at line (\d+), column \d+|at end of document)\)$")


def text_of(files: Mapping[str, bytes], path: str) -> str:
    """Return a file's text. Errors: `Invalid`."""
    content = files[path]
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise wrong(path, line, "This is not UTF-8 text.", "Save the file as UTF-8.") from error


def read_table(files: Mapping[str, bytes], path: str, model: type[Model]) -> Model:
    """Read a TOML file into what it may hold. Errors: `Invalid`."""
    text = text_of(files, path)
    try:
        return model.model_validate(tomllib.loads(text, parse_float=Decimal))
    except tomllib.TOMLDecodeError as error:
        found = _AT.search(str(error))
        line = int(found[1]) if found and found[1] else text.count("\n") + 1
        raise wrong(path, line, f"This is not TOML: {_AT.sub('', str(error))}.", "Correct that line.") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"]))
        raise wrong(path, line_of(text, first["loc"]), f"{name}: {first['msg']}.", _remedy(first["type"])) from error


def require_toml(files: Mapping[str, bytes], path: str) -> None:
    """See that a file is TOML, whatever is in it. Errors: `Invalid`."""
    read_table(files, path, _Anything)


def _remedy(kind: str) -> str:
    match kind:
        case "extra_forbidden":
            return "Remove it, or correct its name."
        case "missing":
            return "Add it."
        case _:
            return "Correct its value."
