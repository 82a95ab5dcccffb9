"""What keeps a machine busy: processes by their lines in /proc, claims by their names."""

import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from subclaw_guest.occupation import is_tenants, last_end_s

SESSION = 77
SLEEPING = f"S 1 500 {SESSION} 0 -1 4194560 136 0"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (SLEEPING, True),
        ("R 1 500 500 0 -1 0 0", True),
        ("Z 1 500 500 0 -1 0 0", False),
        ("X 1 500 500 0 -1 0 0", False),
        ("I 2 0 0 0 -1 69238880 0", False),
        ("S 1 500 78 0 -1 4194560 136 0", False),
    ],
    ids=["sleeps", "runs", "zombie", "dead", "kernel's", "of a call"],
)
def test_whose_a_process_is(fields: str, expected: bool) -> None:
    assert is_tenants(f"500 (name) {fields}".encode(), {78}) is expected


@given(st.text("abc() 0\n", max_size=16))
@example(") Z 1 1 (")
def test_names_of_processes_hold_anything(name: str) -> None:
    assert is_tenants(f"500 ({name}) {SLEEPING}".encode(), set())


def test_lines_of_this_kernel_are_understood() -> None:
    with open("/proc/self/stat", "rb") as file:
        line = file.read()
    assert is_tenants(line, set())
    assert not is_tenants(line, {os.getsid(0)})


@pytest.mark.parametrize(
    ("names", "expected_s"),
    [
        ([], 0),
        (["100-0"], 100),
        (["100-0", "300-0", "200-0"], 300),
        ([f"100-{os.getpid()}", "50-0"], 100),
        (["100-99999999", "50-0"], 50),
        (["", "-", "x-0", "100", "100-", "-0", "-1-0", "1.5-0", "1e9-0", "١٢-0", "100-0.new", "9" * 4_000 + "-0"], 0),
    ],
    ids=["none", "one", "last", "holder is there", "holder has gone", "nonsense"],
)
def test_last_end_of_the_claims(names: list[str], expected_s: int) -> None:
    assert last_end_s(names) == expected_s


@given(st.lists(st.text("0123456789-. x", max_size=16)))
def test_any_names_are_no_or_bounded_claims(names: list[str]) -> None:
    assert 0 <= last_end_s(names) < 10**12
