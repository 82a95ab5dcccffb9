"""Homes that share a cache, and the images that their tenants need."""

import shutil
from pathlib import Path

import pytest
from tests.unit.machines.images import NEW, OLD, put_tenant

from subclaw.core.errors import Unavailable
from subclaw.machines.images.pins import forget_missing_homes, read_pins, register_home


def test_pins_of_all_homes_are_counted_once(tmp_path: Path) -> None:
    cache, one, two, unused = (tmp_path / name for name in ("cache", "one", "two", "unused"))
    for home in (one, two, unused, one):
        register_home(cache, home)
    assert len(list((cache / "homes").iterdir())) == 3
    put_tenant(one, 1, OLD)
    put_tenant(one, 2, NEW)
    put_tenant(two, 1, OLD)
    (one / "machines" / "3").mkdir()  # a tenant whose machine never started
    pins = read_pins(cache, one)
    assert pins.tenants == {OLD: 2, NEW: 1}
    assert pins.unreadable == ()


def test_home_that_asks_need_not_be_registered(tmp_path: Path) -> None:
    put_tenant(tmp_path / "home", 1, OLD)
    assert read_pins(tmp_path / "cache", tmp_path / "home").tenants == {OLD: 1}
    assert read_pins(tmp_path / "cache", tmp_path / "other").tenants == {}


def test_home_is_the_same_by_whatever_link_it_is_reached(tmp_path: Path) -> None:
    put_tenant(tmp_path / "home", 1, OLD)
    (tmp_path / "link").symlink_to("home")
    register_home(tmp_path / "cache", tmp_path / "link")
    (tmp_path / "link").unlink()
    assert read_pins(tmp_path / "cache", tmp_path / "home").tenants == {OLD: 1}


def test_home_that_no_longer_exists_is_forgotten(tmp_path: Path) -> None:
    cache, here, gone = tmp_path / "cache", tmp_path / "here", tmp_path / "gone"
    forget_missing_homes(cache)
    register_home(cache, here)
    register_home(cache, gone)
    put_tenant(here, 1, NEW)
    put_tenant(gone, 1, OLD)
    shutil.rmtree(gone)
    assert read_pins(cache, here).tenants == {NEW: 1}
    forget_missing_homes(cache)
    (registration,) = (cache / "homes").iterdir()
    assert registration.read_text() == str(here)


@pytest.mark.parametrize("record", ["", "[]", '{"version": 1}', '{"version": 99, "generation": 1, "image": "x"}'])
def test_broken_record_is_named_and_the_others_count(tmp_path: Path, record: str) -> None:
    put_tenant(tmp_path, 1, OLD)
    broken = put_tenant(tmp_path, 2, NEW)
    (broken / "machine.json").write_text(record, "utf-8")
    pins = read_pins(tmp_path / "cache", tmp_path)
    assert pins.tenants == {OLD: 1}
    assert pins.unreadable == (broken,)


def test_home_whose_machines_cannot_be_listed_is_named(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "machines").write_text("no folder", "utf-8")
    assert read_pins(tmp_path / "cache", home).unreadable == (home / "machines",)


def test_registration_that_names_no_home_is_named(tmp_path: Path) -> None:
    register_home(tmp_path / "cache", tmp_path / "home")
    (registration,) = (tmp_path / "cache" / "homes").iterdir()
    registration.write_bytes(b"")
    assert read_pins(tmp_path / "cache", tmp_path / "home").unreadable == (registration,)


def test_cache_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no folder", "utf-8")
    with pytest.raises(Unavailable):
        register_home(tmp_path / "cache", tmp_path / "home")
