"""TOML files of an operator's: read within bounds, and what is wrong with them told in words."""

import tomllib
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from subclaw.core.errors import Invalid

FILE_LIMIT_BYTES = 1_000_000

Model = TypeVar("Model", bound=BaseModel)


def read_toml(path: Path) -> str | None:
    """Return the text of a file; None if there is none. Raises `Invalid` for one that cannot be read."""
    try:
        with path.open("rb") as file:
            text = file.read(FILE_LIMIT_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}.") from error
    if len(text) > FILE_LIMIT_BYTES:
        raise Invalid(f"{path} is larger than {FILE_LIMIT_BYTES:,} bytes.")
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Invalid(f"{path} is not UTF-8 text.") from error


def parse_toml(text: str, model: type[Model]) -> Model:
    """Parse a file into what it may hold. Raises `Invalid`, which says what is wrong and where."""
    try:
        return model.model_validate(tomllib.loads(text, parse_float=Decimal))
    except tomllib.TOMLDecodeError as error:
        raise Invalid(f"This is not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise Invalid(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
