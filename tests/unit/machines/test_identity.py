"""Whether a machine is who it was told to be. Its answers come over the real wire in test_guest.py."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subclaw.machines.guest.answers import GuestBroken
from subclaw.machines.guest.identity import SetUp, Told, new_identity, set_up_of

IDENTITY = new_identity("machine-1")
NONCE = "nonce"
MACHINE_ID = "0123456789abcdef" * 2
values = st.none() | st.integers() | st.booleans() | st.text("0123456789abcdef-\n", max_size=40) | st.lists(st.none())


def answer(**changes: object) -> dict[str, Any]:
    """Return what a machine that is as it should be says, with changes."""
    return {
        "nonce": NONCE,
        "hostname": "machine-1",
        "machine_id": MACHINE_ID,
        "boot_id": IDENTITY.boot_id,
        "clock_ns": time.time_ns(),
        "random": "1" * 32,
        "repaired": False,
        **changes,
    }


def test_machine_that_is_who_it_should_be() -> None:
    assert set_up_of(answer(repaired=True), IDENTITY, NONCE, Told()) == SetUp(machine_id=MACHINE_ID, repaired=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": "other"},
        {"nonce": None},
        {"hostname": "machine-2"},
        {"boot_id": new_identity("machine-1").boot_id},
        {"boot_id": None},
        {"machine_id": ""},
        {"machine_id": MACHINE_ID + "0"},
        {"machine_id": MACHINE_ID.upper()},
        {"machine_id": MACHINE_ID[:-1] + "\n"},
        {"machine_id": "0" * 32},
        {"machine_id": 7},
        {"clock_ns": time.time_ns() - 3_600 * 10**9},
        {"clock_ns": time.time_ns() + 3_600 * 10**9},
        {"clock_ns": 1.5},
        {"clock_ns": True},
        {"clock_ns": 2**70},
        {"random": "0" * 32},
        {"random": "x" * 32},
        {"random": []},
        {"repaired": 1},
        {"repaired": None},
    ],
    ids="".join,  # a name, and no value: these are new in each process
)
def test_machine_that_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(GuestBroken):
        set_up_of(answer(**changes), IDENTITY, NONCE, Told())


@given(st.dictionaries(st.sampled_from(list(answer())), values))
def test_whatever_a_machine_says_is_checked(changes: dict[str, object]) -> None:
    try:
        made = set_up_of(answer(**changes), IDENTITY, NONCE, Told())
    except GuestBroken:
        return
    assert len(made.machine_id) == 32


def test_two_machines_with_one_randomness() -> None:
    told = Told()
    set_up_of(answer(), IDENTITY, NONCE, told)
    with pytest.raises(GuestBroken):
        set_up_of(answer(), IDENTITY, NONCE, told)
    set_up_of(answer(random="2" * 32), IDENTITY, NONCE, told)


def test_what_was_told_is_forgotten_in_the_end() -> None:
    told = Told(limit=2)
    for value in ("a", "b", "c", "a"):
        told.add(value)
    with pytest.raises(GuestBroken):
        told.add("c")


def test_identities_differ() -> None:
    first, second = new_identity("machine-1"), new_identity("machine-1")
    assert first.hostname == second.hostname
    assert len({first.boot_id, second.boot_id, first.machine_id, second.machine_id}) == 4
    assert first.entropy != second.entropy
    assert len(first.entropy) == 64
