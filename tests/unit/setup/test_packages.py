"""Package lists, what is missing, and apt's progress."""

from pathlib import Path

import pytest

from subclaw.core.errors import Invalid
from subclaw.setup.packages import apt_complaint, apt_fraction, missing_packages, parse_package_list

CHECKOUT = Path(__file__).parents[3]


def test_comments_and_blank_lines_are_no_packages() -> None:
    assert parse_package_list("# what\n\ncaddy  # serves\n  qemu-system-x86\n") == ("caddy", "qemu-system-x86")


@pytest.mark.parametrize("line", ["Caddy", "--yes", "a", "caddy postgresql", "caddy;true", "../caddy"])
def test_what_is_no_package_name_is_refused(line: str) -> None:
    with pytest.raises(Invalid, match="no Debian package name"):
        parse_package_list(line)


@pytest.mark.parametrize("name", ["packages.txt", "packages-test.txt"])
def test_the_lists_of_this_checkout_parse(name: str) -> None:
    names = parse_package_list((CHECKOUT / name).read_text())
    assert names
    assert list(names) == sorted(set(names))


def test_only_installed_packages_are_not_missing() -> None:
    lines = ["caddy installed", "cpio config-files", "postgresql half-configured", "mount not-installed"]
    wanted = ["caddy", "cpio", "postgresql", "mount", "chromium"]
    assert missing_packages(wanted, lines) == ("cpio", "postgresql", "mount", "chromium")


@pytest.mark.parametrize(
    ("line", "fraction"),
    [
        ("dlstatus:1:0.0000:Retrieving file 1 of 3", 0.0),
        ("dlstatus:3:100.0000:Retrieving file 3 of 3", 0.5),
        ("pmstatus:caddy:50.0000:Unpacking caddy (amd64)", 0.75),
        ("pmstatus:libc6:amd64:100.0000:Installed libc6:amd64", 1.0),
        ("pmstatus:dpkg-exec:9000:Running dpkg", 1.0),
    ],
)
def test_apt_says_how_far_it_is(line: str, fraction: float) -> None:
    assert apt_fraction(line) == pytest.approx(fraction)


@pytest.mark.parametrize(
    "line", ["Setting up caddy (2.6.2-5) ...", "pmerror:caddy:50.0:no", "dlstatus:", "pmstatus:x:y"]
)
def test_other_lines_of_apt_are_no_progress(line: str) -> None:
    assert apt_fraction(line) is None


def test_apt_complains_in_one_line() -> None:
    dpkg = "pmerror:caddy:50.0:installed caddy package post-installation script subprocess returned error exit status 1"
    end = "E: Sub-process /usr/bin/dpkg returned an error code (1)"
    assert apt_complaint([dpkg, end]).startswith("installed caddy package")
    assert apt_complaint(["E: Unable to locate package caddy", end]) == "Unable to locate package caddy"
    assert apt_complaint(["E: You don't have enough free space in /var/cache/apt/archives/."]) == "the disk is full"
    assert apt_complaint([]) == "it gave no reason"
