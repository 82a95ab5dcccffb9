"""What a command may be given as its environment."""

import pytest

from subclaw.core.errors import Invalid
from subclaw.core.machine import ENVIRONMENT_LIMIT, ENVIRONMENT_LIMIT_BYTES
from subclaw.machines.limits import check_environment
from subclaw.tools.commands import fitting

MANY = {f"V{number:03}": "x" * 100 for number in range(200)}


@pytest.mark.parametrize(
    "environment",
    [
        {"": "x"},
        {"1A": "x"},
        {"A=B": "x"},
        {"A\n": "x"},
        {"\u00c9T\u00c9": "x"},
        {"A" * 65: "x"},
        {"A": "x\0"},
        {"A": "\u00e9"},
        {"A": "x" * ENVIRONMENT_LIMIT_BYTES},
        {f"V{number}": "" for number in range(ENVIRONMENT_LIMIT + 1)},
    ],
)
def test_variables_that_cannot_be(environment: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        check_environment(environment)


def test_variables_that_can_be() -> None:
    check_environment({})
    check_environment({"GITHUB_TOKEN": "ghp_subclaw0123", "_a": "several\nlines", "B" * 64: ""})
    check_environment({"A": "x" * (ENVIRONMENT_LIMIT_BYTES - 1)})


def test_of_too_many_placeholders_those_that_fit_are_given() -> None:
    check_environment(fitting(MANY))
    assert list(fitting(MANY)) == sorted(MANY)[:ENVIRONMENT_LIMIT]
    assert fitting({"A": "x" * ENVIRONMENT_LIMIT_BYTES, "B": "x"}) == {"B": "x"}
