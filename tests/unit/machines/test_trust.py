"""Whom a machine's programs trust, whatever the tenant has put where that is kept."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from subclaw_guest import trust as module
from subclaw_guest.owned_files import replace, start_of
from subclaw_guest.trust import trust

DEBIANS = "-----BEGIN CERTIFICATE-----\nDebian\n-----END CERTIFICATE-----\n"
OURS = "-----BEGIN CERTIFICATE-----\nours\n-----END CERTIFICATE-----\n"
NEWER = "-----BEGIN CERTIFICATE-----\nnewer\n-----END CERTIFICATE-----\n"


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "bundle.crt"
    path.write_text(DEBIANS)
    monkeypatch.setattr(module, "BUNDLE", str(path))
    monkeypatch.setattr(module, "AUTHORITY", str(tmp_path / "local" / "ours.crt"))
    return path


@pytest.fixture
def authority(bundle: Path) -> Path:
    return bundle.parent / "local" / "ours.crt"


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """A file system of one page, in which the bundle lies and nothing else fits."""
    folder = tmp_path / "full"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "full", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_certificate_is_added_once(bundle: Path, authority: Path) -> None:
    trust(OURS)
    assert (bundle.read_text(), authority.read_text()) == (DEBIANS + OURS, OURS)
    written = bundle.stat(), authority.stat()
    trust(OURS)
    assert (bundle.stat(), authority.stat()) == written


def test_certificate_takes_the_place_of_the_one_before(bundle: Path, authority: Path) -> None:
    trust(OURS)
    trust(NEWER)
    assert (bundle.read_text(), authority.read_text()) == (DEBIANS + NEWER, NEWER)


def test_certificate_stays_where_the_bundle_was_made_anew(bundle: Path, authority: Path) -> None:
    trust(OURS)
    bundle.write_text(OURS + DEBIANS)
    before = bundle.stat()
    trust(OURS)
    assert bundle.stat() == before
    bundle.write_text(DEBIANS.rstrip())
    trust(OURS)
    assert bundle.read_text() == DEBIANS + OURS


@pytest.mark.parametrize("what", ["nothing", "folder", "link", "pipe", "large"])
def test_what_is_no_bundle_stays_as_it_is(bundle: Path, authority: Path, what: str) -> None:
    other = bundle.with_name("other")
    other.write_text(DEBIANS)
    bundle.unlink()
    if what == "folder":
        bundle.mkdir()
    elif what == "link":
        bundle.symlink_to(other)
    elif what == "pipe":
        os.mkfifo(bundle)
    elif what == "large":
        bundle.touch()
        os.truncate(bundle, module.BUNDLE_LIMIT_BYTES + 1)
    before = bundle.lstat() if what != "nothing" else None
    trust(OURS)
    assert authority.read_text() == OURS
    assert (bundle.lstat() if os.path.lexists(bundle) else None) == before
    assert other.read_text() == DEBIANS


@pytest.mark.parametrize("what", ["folder", "link", "pipe"])
def test_what_is_no_certificate_file_does_no_harm(bundle: Path, authority: Path, what: str) -> None:
    authority.parent.mkdir()
    if what == "folder":
        authority.mkdir()
    elif what == "link":
        authority.symlink_to(bundle)
    else:
        os.mkfifo(authority)
    trust(OURS)
    assert bundle.read_text() == DEBIANS + OURS
    assert authority.is_dir() if what == "folder" else authority.read_text() == OURS


def test_full_disk_changes_nothing(full: Path, monkeypatch: pytest.MonkeyPatch, bundle: Path) -> None:
    held = full / "bundle.crt"
    held.write_text(DEBIANS)
    monkeypatch.setattr(module, "BUNDLE", str(held))
    monkeypatch.setattr(module, "AUTHORITY", str(full / "ours.crt"))
    trust(OURS)
    assert [path.name for path in full.iterdir()] == ["bundle.crt"]
    assert held.read_text() == DEBIANS


def test_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.symlink_to("elsewhere")
    (tmp_path / "file.new").write_text("left over")
    replace(str(path), b"x" * 3_000_000)
    assert not path.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o644
    assert start_of(str(path), 4) == b"xxxx"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
