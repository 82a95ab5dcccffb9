"""A policy in TOML: which hosts machines may reach, as the agent's file, a dry run and subclaw's own list have it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from subclaw.core.agent import AgentEgress
from subclaw.core.errors import Invalid, NotFound
from subclaw.core.policy import HTTPS_PORT, Mode, Rule, Scope
from subclaw.core.policy_words import PATH_LIMIT, checked_rule
from subclaw.toml_file import parse_toml, read_toml

RULE_LIMIT = 500
"""Most rules of each kind in a file."""

_Words = Annotated[list[str], Field(max_length=PATH_LIMIT)]


class _Deny(BaseModel):
    """What the file may say of what is denied."""

    model_config = ConfigDict(extra="forbid", strict=True)

    host: str
    port: int | None = None
    ports: list[int] | None = None
    methods: _Words = []
    paths: _Words = []
    comment: str = ""


class _Allow(_Deny):
    """What the file may say of what is allowed."""

    mode: Literal["inject", "inspect", "splice"] = "inspect"


class EgressTable(BaseModel):
    """What the file may hold."""

    model_config = ConfigDict(extra="forbid", strict=True)

    starter: bool = True
    allow: Annotated[list[_Allow], Field(max_length=RULE_LIMIT)] = []
    deny: Annotated[list[_Deny], Field(max_length=RULE_LIMIT)] = []


def read_policy(path: Path) -> AgentEgress:
    """Read a policy's file. Raises `Invalid`, in words, and `NotFound`."""
    text = read_toml(path)
    if text is None:
        raise NotFound(f"There is no file {path}.")
    try:
        return parse_policy(text)
    except Invalid as error:
        raise Invalid(f"{path}: {error.public}") from error


def parse_policy(text: str) -> AgentEgress:
    """Parse a policy. Raises `Invalid`, which says what is wrong and where."""
    return egress_of(parse_toml(text, EgressTable), "")


def egress_of(table: EgressTable, prefix: str) -> AgentEgress:
    """Return what a table says; `prefix` goes before the places of mistakes. Raises `Invalid`."""
    return AgentEgress(rules=tuple(_rules(table, prefix)), starter=table.starter)


def _rules(table: EgressTable, prefix: str) -> Iterator[Rule]:
    for name, rows in (("allow", table.allow), ("deny", table.deny)):
        for index, row in enumerate(rows):
            try:
                yield _rule(row)
            except Invalid as error:
                raise Invalid(f"{prefix}{name}.{index}: {error.public}") from None


def _rule(row: _Deny) -> Rule:
    if row.port is not None and row.ports is not None:
        raise Invalid("Say port or ports, not both.")
    ports = row.ports if row.ports is not None else [HTTPS_PORT if row.port is None else row.port]
    return checked_rule(
        Rule(
            host=row.host,
            ports=tuple(ports),
            methods=tuple(row.methods),
            paths=tuple(row.paths),
            mode=Mode(row.mode) if isinstance(row, _Allow) else Mode.DENY,
            scope=Scope.AGENT,
            comment=row.comment,
        )
    )
