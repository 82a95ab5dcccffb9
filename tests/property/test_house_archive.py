"""An exported house comes back as it was, as the same bytes each time; other archives are understood or refused."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subclaw.core.errors import Invalid
from subclaw.core.key_shapes import find_keys
from subclaw.core.schedule import IfMissed, ScheduleMode
from subclaw.harness.exports import MANIFEST, REMINDERS, ExportedHouse, archive_files
from subclaw.harness.imports.draft import ImportedReminder
from subclaw.harness.imports.recognise import import_found

NOW = datetime(2026, 11, 22, 1, 40, tzinfo=UTC)

paths = st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){0,2}\.md", fullmatch=True)
texts = st.text(st.characters(codec="utf-8"), max_size=200).filter(lambda text: not find_keys(text))
contents = st.one_of(
    st.binary(max_size=200).filter(lambda raw: not find_keys(raw.decode("utf-8", "replace"))), texts.map(str.encode)
)
reminders = st.builds(
    ImportedReminder,
    when=st.sampled_from(["2026-12-01T09:00:00+00:00", "2026-11-23T09:00"]),
    repeat=st.sampled_from([None, "FREQ=DAILY;BYHOUR=9;BYMINUTE=0"]),
    mode=st.sampled_from(ScheduleMode),
    text=st.text(max_size=50),
    time_zone=st.sampled_from(["", "Europe/Berlin", "UTC"]),
    if_missed=st.sampled_from(IfMissed),
)
houses = st.builds(
    ExportedHouse,
    tenant=st.just("calm-otter"),
    model=st.sampled_from(["", "openai:gpt-6-luna"]),
    time_zone=st.sampled_from(["", "Asia/Tokyo"]),
    files=st.dictionaries(paths, contents, max_size=5),
    reminders=st.lists(reminders, max_size=4),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)


@given(house=houses)
def test_a_house_comes_back_as_it_was(house: ExportedHouse) -> None:
    archive = archive_files(house)
    assert list(archive.items()) == list(archive_files(house).items())
    result = import_found(archive, NOW)
    assert result.files == house.files
    assert (result.model, result.time_zone, result.left_out, result.secrets) == (house.model, house.time_zone, (), ())
    assert sorted(map(repr, result.reminders)) == sorted(map(repr, house.reminders))


@given(manifest=values, told=values)
def test_other_manifests_and_reminders_are_understood_or_refused(manifest: object, told: object) -> None:
    usual = {"format": "subclaw-house", "version": 1}
    mixed = usual | manifest if isinstance(manifest, dict) else usual
    for said in (manifest, mixed):
        found = {MANIFEST: json.dumps(said).encode(), REMINDERS: json.dumps(told).encode()}
        try:
            result = import_found(found, NOW)
        except Invalid:
            continue
        assert result.files == {}
        assert result.reminders == ()


def test_another_version_is_refused_in_words() -> None:
    manifest = json.dumps({"format": "subclaw-house", "version": 2}).encode()
    with pytest.raises(Invalid, match="has version 2; this subclaw reads 1"):
        import_found({MANIFEST: manifest, REMINDERS: b"[]"}, NOW)


def test_what_cannot_be_any_more_is_told_of() -> None:
    token = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
    past = ImportedReminder(when="2026-01-01T00:00:00+00:00", repeat=None, mode=ScheduleMode.MESSAGE, text="x")
    files = {"memory.md": f"Token {token}".encode(), "a" * 300: b"x"}
    house = ExportedHouse(tenant="t", model="", time_zone="Mars", files=files, reminders=[past])
    result = import_found(archive_files(house), NOW)
    assert [(left.source[:20], left.why[:20]) for left in result.left_out] == [
        ("house/" + "a" * 14, "its name, or how dee"),
        ("reminders.json: 1", "its time is past"),
        ("the time zone", "There is no time zon"),
    ]
    assert [found.kind for found in result.secrets] == ["a GitHub token"]
    assert token.encode() not in result.files["memory.md"]
