"""The agent's file: its operator's settings, in TOML. What is not in it is as `AgentSettings` has it."""

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from subclaw.core.agent import AgentSettings, OnBusy
from subclaw.core.errors import Invalid

FILE_LIMIT_BYTES = 1_000_000


class _File(BaseModel):
    """What the file may hold."""

    model_config = ConfigDict(extra="forbid", strict=True)

    on_busy: Annotated[OnBusy, Field(strict=False)] = OnBusy.FOLD
    step_limit: Annotated[int, Field(ge=1, le=200)] = 25
    turn_limit_s: Annotated[int, Field(ge=10, le=86_400)] = 1_800


def read_agent(path: Path) -> AgentSettings:
    """Read an agent's file; without one everything is as it is by itself. Raises `Invalid`, in words."""
    try:
        with path.open("rb") as file:
            text = file.read(FILE_LIMIT_BYTES + 1)
    except FileNotFoundError:
        return AgentSettings()
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}.") from error
    if len(text) > FILE_LIMIT_BYTES:
        raise Invalid(f"{path} is larger than {FILE_LIMIT_BYTES:,} bytes.")
    try:
        return parse_agent(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Invalid(f"{path} is not UTF-8 text.") from error
    except Invalid as error:
        raise Invalid(f"{path}: {error.public}") from error


def parse_agent(text: str) -> AgentSettings:
    """Parse an agent's file. Raises `Invalid`, which says what is wrong and where."""
    try:
        found = _File.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise Invalid(f"This is not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise Invalid(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    return AgentSettings(**dict(found))
