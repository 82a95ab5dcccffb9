"""Paths of a house, and which defaults are laid into one."""

import pytest

from subclaw.core.errors import Invalid
from subclaw.core.house import (
    FILE_LIMIT_BYTES,
    HOUSE,
    SYSTEM,
    HouseFile,
    check_house_file,
    files_to_keep,
    fingerprint,
    fingerprints,
    house_path,
    laid_after,
    to_lay,
)
from subclaw.harness.defaults import default_files

SKILL = "skills/invoices.md"


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        (f"{HOUSE}/system.md", "system.md"),
        (f"{HOUSE}/skills/invoices/SKILL.md", "skills/invoices/SKILL.md"),
        (f"{HOUSE}/skills/invoices/data/table.csv", "skills/invoices/data/table.csv"),
        (f"{HOUSE}/skills/invoices/data/2026/table.csv", None),
        (f"{HOUSE}/.hidden", None),
        (f"{HOUSE}/{'x' * 201}", None),
        (HOUSE, None),
        ("/etc/subclaws/system.md", None),
        ("memory.md", None),
    ],
)
def test_path_below_the_house(path: str, inside: str | None) -> None:
    assert house_path(path) == inside


@pytest.mark.parametrize("path", ["", "/x", "a//b", "a/", "../passwd", "a/../b", "a/.", "a\0", "a\nb", "a\ud800"])
def test_path_that_cannot_be(path: str) -> None:
    with pytest.raises(Invalid):
        house_path(f"{HOUSE}/{path}")
    with pytest.raises(Invalid):
        check_house_file(path, None)


def test_file_may_be_as_large_as_the_limit() -> None:
    check_house_file(SKILL, bytes(FILE_LIMIT_BYTES))
    with pytest.raises(Invalid):
        check_house_file(SKILL, bytes(FILE_LIMIT_BYTES + 1))


@pytest.mark.parametrize(
    ("laid", "present", "is_laid"),
    [
        (None, None, True),
        (None, "own", False),
        ("old", "old", True),
        ("old", "touched", False),
        ("old", "", False),
        ("old", "new", False),
        ("new", "new", False),
        ("new", "touched", False),
    ],
    ids=["missing", "own", "untouched", "touched", "broken", "taken over", "newest", "touched newest"],
)
@pytest.mark.parametrize("path", [SYSTEM, SKILL])
def test_default_is_laid_where_nobody_has_touched_it(
    path: str, laid: str | None, present: str | None, is_laid: bool
) -> None:
    before = {path: laid} if laid else {}
    found = {path: present} if present is not None else {}
    assert to_lay({path: "new"}, before, found) == ((path,) if is_laid else ())


def test_default_that_was_removed_stays_so_but_for_the_system_text() -> None:
    newest, laid = {SYSTEM: "new", SKILL: "new"}, {SYSTEM: "old", SKILL: "old"}
    assert to_lay(newest, laid, {}) == (SYSTEM,)
    assert laid_after(newest, laid, {SYSTEM: "new"}) == {SYSTEM: "new", SKILL: "old"}


def test_what_is_kept_is_all_that_does_not_follow_a_default() -> None:
    untouched = HouseFile(path=SYSTEM, content=b"default")
    own = HouseFile(path="memory.md", content=b"own")
    broken = HouseFile(path="tools.json", content=None, problem="It is a folder.")
    files = (untouched, own, broken)
    assert fingerprints(files) == {SYSTEM: fingerprint(b"default"), "memory.md": fingerprint(b"own"), "tools.json": ""}
    laid = {SYSTEM: fingerprint(b"default"), SKILL: "old", "tools.json": "old"}
    assert files_to_keep(files, laid) == (own, broken, HouseFile(path=SKILL, content=None))


def test_defaults_that_come_with_subclaw_can_be_laid() -> None:
    defaults = default_files()
    assert SYSTEM in defaults
    for path, content in defaults.items():
        check_house_file(path, content)
