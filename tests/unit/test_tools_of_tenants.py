"""What a tenant's command is given: its input as it is, and placeholders beside it."""

import base64
import json
from typing import Any

import pytest

from subclaw.core.errors import Invalid
from subclaw.core.machine import ENVIRONMENT_LIMIT, ENVIRONMENT_LIMIT_BYTES
from subclaw.tools.commands import fitting
from subclaw.tools.tenant import INPUT_LIMIT_BYTES, encoded_input

MAX_ARG_STRLEN = 128 * 1024
"""execve(2)."""


@pytest.mark.parametrize(
    "arguments",
    [{}, {"a": "'\"$(id)`id`\n\r\0\\"}, {"a": "\U0001f3ac"}, {"\udc80": "\ud800x\udfff"}, {"a": [1.5, None, True]}],
)
def test_input_is_what_it_was(arguments: dict[str, Any]) -> None:
    value = encoded_input(arguments)
    assert value.isascii()
    assert json.loads(base64.b64decode(value)) == arguments


def test_the_largest_input_fits_a_variable() -> None:
    largest = {"a": "x" * (INPUT_LIMIT_BYTES - len('{"a":""}'))}
    assert len("TOOL_INPUT=") + len(encoded_input(largest)) + 1 <= MAX_ARG_STRLEN
    with pytest.raises(Invalid, match="98,001 bytes as JSON; at most 98,000 fit"):
        encoded_input({"a": f"{largest['a']}x"})


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_is_no_json(number: float) -> None:
    with pytest.raises(Invalid):
        encoded_input({"a": number})


def test_what_a_command_must_have_is_not_replaced_and_counts() -> None:
    assert fitting({"A": "theirs", "B": "b"}, first={"A": "ours"}) == {"A": "ours", "B": "b"}
    assert fitting({"B": "b"}, first={"A": "x" * (ENVIRONMENT_LIMIT_BYTES - 1)}).keys() == {"A"}
    many = {f"V{number}": "" for number in range(100)}
    assert len(fitting(many, first={"A": ""})) == ENVIRONMENT_LIMIT
