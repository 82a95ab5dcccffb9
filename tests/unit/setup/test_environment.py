"""When the virtual environment is made anew, where it stands, and what its stamp says."""

import dataclasses
import itertools
import json
import tomllib
from pathlib import Path

import pytest

from subclaw.setup.environment import (
    LOCKED,
    STAMP,
    Stamp,
    Steps,
    count_locked,
    pip_complaint,
    pip_environment,
    place_for,
    read_stamp,
    requirements_fraction,
    steps_for,
    wanted_stamp,
)

CHECKOUT = Path(__file__).parents[3]
RUNTIME = Stamp(folder="/srv/x/.venv", python="3.11.2", lock="a", dev_lock=None, product="checkout p")
DEV = dataclasses.replace(RUNTIME, dev_lock="d")
NOTHING = Steps(anew=False, requirements=False, product=False)
EVERYTHING = Steps(anew=True, requirements=True, product=True)


@pytest.mark.parametrize(("found", "wanted"), [(RUNTIME, RUNTIME), (DEV, DEV), (DEV, RUNTIME)])
def test_what_is_there_is_not_done_again(found: Stamp, wanted: Stamp) -> None:
    assert steps_for(found, wanted) == NOTHING


@pytest.mark.parametrize(
    "wanted",
    [
        dataclasses.replace(DEV, lock="b"),
        dataclasses.replace(DEV, dev_lock="e"),
        dataclasses.replace(DEV, python="3.11.3"),
        dataclasses.replace(DEV, folder="/srv/y/.venv"),
    ],
)
def test_another_lock_or_python_or_place_means_anew(wanted: Stamp) -> None:
    assert steps_for(DEV, wanted) == EVERYTHING


def test_no_stamp_means_anew() -> None:
    assert steps_for(None, RUNTIME) == EVERYTHING


def test_what_tests_need_is_added_to_what_is_there() -> None:
    assert steps_for(RUNTIME, DEV) == Steps(anew=False, requirements=True, product=False)


def test_changed_sources_mean_only_the_product() -> None:
    wanted = dataclasses.replace(RUNTIME, product="copy q")
    assert steps_for(RUNTIME, wanted) == Steps(anew=False, requirements=False, product=True)


def test_a_readable_checkout_keeps_its_environment() -> None:
    place = place_for(Path("/srv/x"), readable=True)
    assert (place.folder, place.is_copy) == (Path("/srv/x/.venv"), False)


def test_unreadable_checkouts_have_folders_of_their_own() -> None:
    places = [place_for(Path(checkout), readable=False) for checkout in ("/root/x", "/root/y", "/home/u/x")]
    assert all(place.is_copy and place.folder.is_relative_to("/opt/subclaw") for place in places)
    assert len({place.folder for place in places}) == 3


def test_a_stamp_is_read_only_from_a_whole_environment(tmp_path: Path) -> None:
    (tmp_path / STAMP).write_text(json.dumps(dataclasses.asdict(RUNTIME)))
    assert read_stamp(tmp_path) is None
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to("/usr/bin/python3")
    assert read_stamp(tmp_path) == RUNTIME


@pytest.mark.parametrize("text", ["", "{", "[]", '{"folder": "x"}', '{"unknown": 1}'])
def test_a_broken_stamp_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to("/usr/bin/python3")
    (tmp_path / STAMP).write_text(text)
    assert read_stamp(tmp_path) is None


def test_the_stamp_follows_locks_and_for_a_copy_the_sources(tmp_path: Path) -> None:
    for name, text in {"requirements.lock": "a", "requirements-dev.lock": "b", "pyproject.toml": "c"}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "src").mkdir()
    (tmp_path / "src/x.py").write_text("1")
    here, copy = place_for(tmp_path, readable=True), place_for(tmp_path, readable=False)
    before = [wanted_stamp(tmp_path, place, python="3.11.2", dev=True) for place in (here, copy)]
    (tmp_path / "src/x.py").write_text("2")
    after = [wanted_stamp(tmp_path, place, python="3.11.2", dev=True) for place in (here, copy)]
    assert before[0] == after[0]
    assert before[1].product != after[1].product
    (tmp_path / "requirements.lock").write_text("changed")
    assert wanted_stamp(tmp_path, here, python="3.11.2", dev=True).lock != before[0].lock


def test_locked_packages_are_counted() -> None:
    lock = "# made by\na==1 \\\n    --hash=sha256:00\nB-c[d,e]==2.0 ; python_version < '4' \\\n    --hash=sha256:11\n"
    assert count_locked(lock) == 2


def test_the_bar_moves_while_packages_are_fetched_and_unpacked() -> None:
    fetching = [requirements_fraction(fetched, 2, 99) for fetched in range(100)]
    unpacking = [requirements_fraction(99, unpacked, 99) for unpacked in range(2, 102)]
    assert fetching[0] == 0.0
    assert all(before < after for before, after in itertools.pairwise(fetching))
    assert all(before <= after for before, after in itertools.pairwise(fetching[-1:] + unpacking))
    assert unpacking[-1] == 1.0


def test_pip_is_not_led_astray() -> None:
    environment = pip_environment({"PIP_TARGET": "/x", "PYTHONPATH": "/y", "PIP_CERT": "/z"})
    assert "PIP_TARGET" not in environment
    assert "PYTHONPATH" not in environment
    assert environment["PIP_CERT"] == "/z"


def test_pip_complains_in_one_line() -> None:
    assert (
        pip_complaint(["ERROR: No matching distribution found for a==1"]) == "No matching distribution found for a==1"
    )
    assert pip_complaint(["ERROR: Could not install: [Errno 28] No space left on device"]) == "the disk is full"
    assert "hash differs" in pip_complaint(
        ["ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE."]
    )


def _locked(name: str) -> dict[str, str]:
    lines = [line for line in (CHECKOUT / name).read_text().splitlines() if LOCKED.match(line)]
    return {line.partition("==")[0].partition("[")[0]: line.partition("==")[2].split()[0] for line in lines}


def test_the_development_lock_only_adds_to_the_other() -> None:
    runtime, development = _locked("requirements.lock"), _locked("requirements-dev.lock")
    assert runtime.items() <= development.items()
    assert "pytest" not in runtime


def test_every_dependency_is_locked() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    for lock, asked in (
        ("requirements.lock", project["dependencies"] + project["optional-dependencies"]["build"]),
        ("requirements-dev.lock", project["optional-dependencies"]["dev"]),
    ):
        names = {text.partition("[")[0].partition(">")[0].replace(".", "-").lower() for text in asked}
        assert names <= {name.replace(".", "-").lower() for name in _locked(lock)}


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_locks_hold_hashes_and_no_addresses(name: str) -> None:
    text = (CHECKOUT / name).read_text()
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text
    entries = text.split("\n")
    assert all(
        entries[at + 1].startswith("    --hash=sha256:") for at, line in enumerate(entries) if LOCKED.match(line)
    )
