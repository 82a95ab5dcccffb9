"""The record beside a tenant's disk."""

import json
from pathlib import Path

import pytest

from subclaw.core.errors import Conflict, Corrupt
from subclaw.machines.disks.record import Record, read_record, write_record


def test_what_is_written_is_read(tmp_path: Path) -> None:
    assert read_record(tmp_path) is None
    first = Record(generation=1, image="one")
    write_record(tmp_path, first)
    assert read_record(tmp_path) == first
    later = Record(generation=9, image="one", refused_image="two")
    write_record(tmp_path, later)
    assert read_record(tmp_path) == later
    assert [path.name for path in tmp_path.iterdir()] == ["machine.json"]


@pytest.mark.parametrize("generation", [1, 4, 5])
def test_only_a_later_start_is_recorded(tmp_path: Path, generation: int) -> None:
    present = Record(generation=5, image="one")
    write_record(tmp_path, present)
    with pytest.raises(Conflict, match=f"generation {generation} after 5"):
        write_record(tmp_path, Record(generation=generation, image="two"))
    assert read_record(tmp_path) == present


def test_a_record_of_version_1_is_read_and_becomes_one_of_version_2(tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    path.write_text('{"version": 1, "generation": 3, "image": "x"}', "utf-8")
    assert read_record(tmp_path) == Record(generation=3, image="x", refused_image="")
    write_record(tmp_path, Record(generation=4, image="x"))
    assert json.loads(path.read_bytes()) == {"version": 2, "generation": 4, "image": "x", "refused_image": ""}


@pytest.mark.parametrize(
    "record",
    [
        "",
        "[]",
        "null",
        "[" * 100_000,
        '{"version": 3, "generation": 1, "image": "x", "refused_image": ""}',
        '{"version": 1, "generation": 1, "image": "x", "refused_image": ""}',
        '{"version": 2, "generation": 1, "image": "x"}',
        '{"version": true, "generation": 1, "image": "x"}',
        '{"version": 2, "generation": 0, "image": "x", "refused_image": ""}',
        '{"version": 2, "generation": "1", "image": "x", "refused_image": ""}',
        '{"version": 2, "generation": true, "image": "x", "refused_image": ""}',
        '{"version": 2, "generation": 1, "image": 1, "refused_image": ""}',
        '{"version": 2, "generation": 1, "image": "x", "refused_image": null}',
        '{"version": 2, "generation": 1, "refused_image": ""}',
        '{"version": 2, "generation": 1, "image": "x", "refused_image": "", "more": 1}',
        '{"version": 1, "generation": 1, "image": "x", "more": 1}',
        '{"version": 1, "generation": 0, "image": "x"}',
        '{"version": 1, "generation": 1}',
    ],
)
def test_broken_record(tmp_path: Path, record: str) -> None:
    path = tmp_path / "machine.json"
    path.write_text(record, "utf-8")
    with pytest.raises(Corrupt) as caught:
        read_record(tmp_path)
    assert "record" in caught.value.public
    with pytest.raises(Corrupt):
        write_record(tmp_path, Record(generation=9, image="x"))
    assert path.read_text("utf-8") == record
